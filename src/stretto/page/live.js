
// -- a server's page: it asks, and shows answers as they come ---------------------------------------

const TOP = 5; // others beside each token

function bodyOf(fields, method) {
  const body = { stream: true, trace: true, seed: Number(fields.seed), temperature: Number(fields.temperature),
    max_tokens: Number(fields.tokens) };
  if (method) body.method = method;
  if (fields.form === "chat") {
    body.messages = [{ role: "user", content: fields.prompt }];
    if (fields.probabilities) Object.assign(body, { logprobs: true, top_logprobs: TOP });
  } else {
    body.prompt = fields.prompt;
    if (fields.probabilities) body.logprobs = TOP;
  }
  return body;
}

// The events of a stream, each as it is complete.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part !== "data: [DONE]") yield JSON.parse(part.slice("data: ".length));
  }
}

// Ask for one answer; its trace, in the end. Throws what the server says where it refuses.
async function answered(fields, method, signal, hear) {
  const headers = { "Content-Type": "application/json" };
  if (fields.key) headers.Authorization = `Bearer ${fields.key}`;
  const path = fields.form === "chat" ? "/v1/chat/completions" : "/v1/completions";
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(bodyOf(fields, method)), signal });
  if (!response.ok) throw new Error((await response.json()).error.message);
  let trace = null;
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error.message);
    const [choice] = event.choices;
    hear(choice.delta ? choice.delta.content || "" : choice.text);
    if (choice.stretto) trace = choice.stretto.trace;
  }
  if (!trace) throw new Error("the answer broke off");
  return trace;
}

function listen(form, first) {
  const status = document.getElementById("status");
  const stop = document.getElementById("stop");
  const send = form.querySelector("[type=submit]");
  let calling = null;
  const tell = (words, fault) => {
    status.textContent = words;
    status.classList.toggle("fault", Boolean(fault));
  };
  [form.elements.first.value, form.elements.second.value] = first.methods;
  form.elements.form.value = first.chat ? "chat" : "continue";
  form.hidden = false;
  stop.addEventListener("click", () => calling && calling.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(form));
    const methods = [fields.first, ...(fields.second ? [fields.second] : [])];
    const boxes = methods.map(() => make("div", { class: "answer" }));
    const runs = document.getElementById("runs");
    runs.className = methods.length > 1 ? "two" : "one";
    runs.replaceChildren(...methods.map((name, at) => make("article", { class: "run" },
      make("div", {}, make("h2", {}, name || "the usual method"), boxes[at]))));
    document.getElementById("legend").replaceChildren();
    calling = new AbortController();
    send.disabled = true;
    stop.disabled = false;
    try {
      const traces = [];
      for (const [at, method] of methods.entries()) { // one after the other: each has the machine for itself
        tell(`${method || "the usual method"} answers …`);
        traces.push(await answered(fields, method, calling.signal, (text) => boxes[at].append(text)));
      }
      tell("");
      show(traces);
    } catch (error) {
      tell(error.name === "AbortError" ? "Stopped." : error.message, error.name !== "AbortError");
    }
    send.disabled = false;
    stop.disabled = true;
  });
}

if (DATA.asking) listen(document.getElementById("ask"), DATA.asking);

"""One file per kind of question; each defines `TASK`, and `stretto.gym.tasks` collects them."""

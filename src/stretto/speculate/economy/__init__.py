"""What drafting earns and costs: one learner, one file that prunes, one decision. Planners are made of these."""

"""Terms of the method that the spec, the plan and all stages share: verdicts and layouts of pairs by name."""

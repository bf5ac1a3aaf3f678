"""Several processes that train one model: who they are, what each holds, and what they tell each other."""

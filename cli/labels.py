"""What a metric is called where people look at it, and its unit: in pictures (`curves`) and on the page (`dashboard`).

A name without a slash is one of the memory: `omega_loss` is `memory/omega_loss` in the log. But `loss` and `accuracy`
are each two curves, of training and validation; the second one is there where what is trained on is judged.
"""

LABELS = {
    "loss": ("Loss", "nats per token"),
    "train/lr": ("Learning rate", "rate of the step"),
    "train/grad_norm": ("Gradient before clipping", "Euclidean norm"),
    "gate_mean": ("Gate, mean over tokens", "gate (0 to 1)"),
    "gate_std": ("Gate, standard deviation", "gate (0 to 1)"),
    "memory_share": ("Share of the memory in the join", "share (0 to 1)"),
    "omega_loss": ("Omega loss of the writes", "squared error"),
    "update_magnitude": ("Change of the memory in a call", "Frobenius norm"),
    "momentum_norm": ("Momentum", "Frobenius norm"),
    "memory_norm": ("Memory", "Frobenius norm"),
    "retention": ("Retention", "share kept per token"),
    "step_size": ("Inner step size", "step size"),
    "newton_schulz_error": ("Newton-Schulz error, worst matrix", "distance from orthogonality"),
    "accuracy": ("Accuracy", "share (0 to 1)"),
    "grokking/phase": ("Phase: 1 memorised, 2 circuits, 3 cleanup, 4 grokked", "number of the phase"),
    "grokking/concentration": ("Concentration of the embedding", "share of five frequencies"),
    "grokking/circular_order": ("Order on the circle", "order (0 to 1)"),
    "grokking/circular_fit": ("Roundness of the circle", "fit (noise: 0.5)"),
    "grokking/weight_norm": ("All weights", "Euclidean norm"),
}

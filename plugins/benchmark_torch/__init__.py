"""A library for plugins, not a plugin: training a torch module, seeding, validation, and encoding texts.

Any plugin may import it; it imports only the public names of `benchmark`, and torch only when first needed. `training`
has the loop, with checkpoints, early stopping and progress; `randomness` the seeding; `validation` the metrics that
choose an epoch; `encoder` text encoders. An example of a whole model:

    from dataclasses import dataclass
    from typing import ClassVar

    import numpy as np

    from benchmark import NotFittedError, top_k
    from benchmark_torch.randomness import seeded
    from benchmark_torch.training import Schedule, train as train_module
    from benchmark_torch.validation import validate


    @dataclass
    class LastItem:
        '''Predicts the next item from the last one alone: its embedding, matched with all items.'''

        dim: int = 32
        learning_rate: float = 0.01
        batch_size: int = 256
        epochs: int = 20
        patience: int = 3
        tasks: ClassVar = frozenset({"recommendation"})
        requires: ClassVar = ("torch",)

        def fit(self, train, valid, context):
            import torch

            n, prefixes = len(train.catalog), train.prefixes()
            pairs = np.stack([prefixes.values[prefixes.end - 1], prefixes.targets], axis=1)  # (P, 2) last, next

            def losses(rng):
                for rows in np.array_split(rng.permutation(len(pairs)), -(-len(pairs) // self.batch_size)):
                    last, target = torch.from_numpy(pairs[rows]).long().to(context.device).T
                    yield torch.nn.functional.cross_entropy(self.module_(last), target), len(rows)

            own = {task: valid[task] for task in self.tasks if task in valid}
            with seeded(context):
                layers = torch.nn.Embedding(n + 1, self.dim), torch.nn.Linear(self.dim, n)  # row n: no history
                self.module_ = torch.nn.Sequential(*layers).to(context.device)
                train_module(
                    self.module_,
                    losses,
                    Schedule(self.learning_rate, self.epochs, self.patience),
                    context,
                    identity=[self, pairs],
                    validate=lambda: validate(self.rank, own, "nDCG@10"),
                )

        def rank(self, requests, k):
            import torch

            if not hasattr(self, "module_"):
                raise NotFittedError("last_item must be fitted before it can rank.")
            last = requests.histories.padded(1)[:, 0]
            with torch.inference_mode():
                rows = torch.from_numpy(last).long().to(self.module_[0].weight.device)
                rows = rows.where(rows >= 0, self.module_[0].num_embeddings - 1)
                return top_k(self.module_(rows).cpu().numpy(), requests, k)
"""

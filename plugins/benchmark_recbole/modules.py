"""RecBole's own modules, built without its Config, data set or files, and functions that run them.

RecBole's modules only read `config[name]` and `dataset.num(field)`. Passing them just that avoids a `Config`'s side
effects: reading sys.argv with top priority, overwriting np.int, np.float and others for the whole process, and logging
to and saving in the working directory. Item row i is RecBole's item i + 1; 0 is padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from benchmark_recbole.attributes import Attribute

_FIELDS: Mapping[str, Any] = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "NEG_PREFIX": "neg_",
    "MASK_ITEM_SEQ": "Mask_item_id_list",
    "POS_ITEMS": "Pos_item_id",
    "NEG_ITEMS": "Neg_item_id",
    "MASK_INDEX": "MASK_INDEX",
}
"""RecBole's names of the columns of a batch."""

_TRANSFORMER = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "initializer_range": 0.02, "loss_type": "CE"}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "SASRec": _TRANSFORMER,
    "BERT4Rec": _TRANSFORMER,
    "FDSA": {**_TRANSFORMER, "pooling_mode": "mean"},
    "S3Rec": {**_TRANSFORMER, "train_stage": "pretrain", "mask_ratio": 0.2},
    "GRU4Rec": {"loss_type": "CE"},
    "Caser": {"loss_type": "CE", "nv": 4},
    "HGN": {"loss_type": "CE", "pooling_type": "average", "reg_weight": [0.0, 0.0]},
    "DiffRec": {
        "steps": 5,
        "sampling_steps": 0,
        "noise_schedule": "linear",
        "noise_scale": 0.001,
        "noise_min": 0.0005,
        "noise_max": 0.005,
        "reweight": True,
        "sampling_noise": False,
        "mean_type": "x0",
        "history_num_per_term": 10,
        "beta_fixed": True,
        "embedding_size": 10,
        "mlp_act_func": "tanh",
        "time-aware": False,
        "w_max": 1,
        "w_min": 0.1,
    },
}
"""RecBole's defaults of settings that our models do not offer."""


class ModuleConfig(dict[str, Any]):
    """The part of RecBole's Config that its modules use: a name that is not set is None."""

    def __missing__(self, key: str) -> None:
        return None


class DataSet:
    """The part of RecBole's Dataset that its modules use: the numbers of items, of users and of each attribute's
    values, padding included, and the attributes of the items."""

    def __init__(self, n_items: int, n_users: int = 0, attributes: Mapping[str, Attribute] | None = None) -> None:
        self.attributes = attributes or {}
        self.counts = {_FIELDS["ITEM_ID_FIELD"]: n_items + 1, _FIELDS["USER_ID_FIELD"]: n_users + 1}
        self.counts |= {name: len(attribute.values) + 1 for name, attribute in self.attributes.items()}

    def num(self, field: str) -> int:
        return self.counts[field]

    @property
    def item_num(self) -> int:
        return self.num(_FIELDS["ITEM_ID_FIELD"])

    @property
    def user_num(self) -> int:
        return self.num(_FIELDS["USER_ID_FIELD"])

    @property
    def field2type(self) -> dict[str, Any]:
        from recbole.utils import FeatureType

        return dict.fromkeys(self.attributes, FeatureType.TOKEN_SEQ)

    def get_item_feature(self) -> Tables:
        import torch

        return Tables({name: torch.from_numpy(attribute.table()) for name, attribute in self.attributes.items()})

    def history_item_matrix(self) -> tuple[Tensor, Tensor, None]:
        """Empty: DiffRec gets the rows of each batch instead, which avoids a matrix of users × longest history."""
        import torch

        return torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 0), None


class Tables(dict[str, "Tensor"]):
    """(N + 1, A) value numbers of each attribute, all on one device: the part of an Interaction that RecBole's modules
    use."""

    def to(self, device: torch.device | str) -> Tables:
        return Tables({name: table.to(device) for name, table in self.items()})


def load(name: str) -> Any:
    """RecBole's module class. Importing RecBole's models enables autograd's anomaly detection for the whole process
    (sine.py), which checks every backward pass for NaN; here it is restored."""
    import torch

    anomaly = torch.is_anomaly_enabled()
    try:
        if name == "DiffRec":
            from recbole.model import general_recommender as home
        else:
            from recbole.model import sequential_recommender as home
    finally:
        torch.autograd.set_detect_anomaly(anomaly)
    return getattr(home, name)


def build(
    name: str,
    n_items: int,
    device: torch.device | str,
    *,
    n_users: int = 0,
    attributes: Mapping[str, Attribute] | None = None,
    **settings: Any,
) -> nn.Module:
    """RecBole's module `name` for a catalogue of `n_items`, with its own initial weights from torch's random state."""
    module_class = load(name)
    config = ModuleConfig({**_FIELDS, **_DEFAULTS[name], **settings, "device": device})
    module: nn.Module = module_class(config, DataSet(n_items, n_users, attributes))
    if name == "DiffRec":
        feed_rows(module)
    if name == "FDSA":
        embed_each_item_once(module)
    if name in ("Caser", "HGN"):
        clear_padding(module)
    return module.to(device)


def states(module: Any, inputs: Tensor) -> Tensor:
    """The hidden states at every position, (B, W, H), of a causal module (SASRec, GRU4Rec, FDSA) for `inputs` (B, W).

    The module's own `forward` without its last step, `gather_indexes`, which would keep one state per row.
    """
    import torch

    module.gather_indexes = lambda output, index: output
    try:
        hidden: Tensor = module(inputs, torch.full((len(inputs),), inputs.shape[1], device=inputs.device))
    finally:
        del module.gather_indexes
    return hidden


def next_item_scores(module: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    """(B, N) scores of all items after the newest of each history (all causal modules)."""
    interaction = {module.ITEM_SEQ: inputs, module.ITEM_SEQ_LEN: lengths}
    scores: Tensor = module.full_sort_predict(interaction)[:, 1:]
    return scores


def next_item_loss(module: Any, inputs: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
    """RecBole's own loss of one target per row (all causal modules)."""
    loss: Tensor = module.calculate_loss(
        {module.ITEM_SEQ: inputs, module.ITEM_SEQ_LEN: lengths, module.POS_ITEM_ID: targets}
    )
    return loss


def cloze_loss(module: Any, inputs: Tensor, masked: Tensor, targets: Tensor) -> Tensor:
    """RecBole's own loss at the masked columns (B, M) of BERT4Rec's `inputs` (B, W); column 0 is padding of these."""
    loss: Tensor = module.calculate_loss(
        {module.MASK_ITEM_SEQ: inputs, module.POS_ITEMS: targets, module.NEG_ITEMS: None, module.MASK_INDEX: masked}
    )
    return loss


def masked_item_scores(module: Any, inputs: Tensor) -> Tensor:
    """(B, N) scores of all items at a mask after each history (BERT4Rec); `inputs` (B, W) end with the newest item."""
    import torch

    inputs_and_mask = torch.nn.functional.pad(inputs, (0, 1), value=module.mask_token)
    hidden = module(inputs_and_mask)[:, -1]  # (B, H)
    scores: Tensor = (hidden @ module.item_embedding.weight[: module.n_items].T + module.output_bias)[:, 1:]
    return scores


def states_with_mean_user(module: Any, *inputs: Tensor) -> Tensor:
    """(B, H) Caser's or HGN's forward pass of `inputs`, in which user 0, unknown, is the mean of all others."""
    import torch

    users = module.user_embedding.weight
    users = torch.cat([users[1:].mean(0, keepdim=True), users[1:]])
    hidden: Tensor = torch.func.functional_call(module, {"user_embedding.weight": users}, inputs)
    return hidden


def caser_penalty(module: Any) -> Tensor:
    """RecBole's own regularisation of Caser: `reg_weight` times the norms of its weights."""
    users, items = module.user_embedding.weight, module.item_embedding.weight
    weights = [users, items, module.conv_v.weight, module.fc1.weight, module.fc2.weight]
    penalty: Tensor = (module.reg_weight * module.reg_loss(weights) + module.reg_loss_conv_h()).squeeze()
    return penalty


def clear_padding(module: Any) -> None:
    """Zero the padding item's vector, which RecBole initialises with noise: Caser and HGN sum over padded columns. In
    Caser it does not stay zero: RecBole's softmax includes it, as an item that is never a target."""
    import torch

    with torch.no_grad():
        module.item_embedding.weight[0] = 0


def embed_each_item_once(module: Any) -> None:
    """Let FDSA look up attributes once per distinct item of a batch instead of once per position: the same numbers."""
    import torch

    layer = module.feature_embed_layer
    embed = layer.embed_input_fields

    def embed_distinct(users: None, items: Tensor) -> tuple[dict[str, Tensor], dict[str, None]]:
        distinct, place = torch.unique(items, return_inverse=True)
        sparse, dense = embed(users, distinct[None])  # (1, D, attributes, H)
        return {"item": sparse["item"][0][place]}, dense

    layer.embed_input_fields = embed_distinct


def feed_rows(module: Any) -> None:
    """Let DiffRec take the dense rows of a batch (B, N + 1) instead of user numbers, save the importance weights of the
    diffusion steps with its own weights, and update them per step instead of per row."""
    import torch

    module.get_rating_matrix = lambda rows: rows
    for name in ("Lt_history", "Lt_count"):
        value = getattr(module, name)
        delattr(module, name)
        module.register_buffer(name, value)

    def update(steps: Tensor, losses: Tensor) -> None:
        for step in range(module.steps):
            count = int(module.Lt_count[step])
            newest = torch.cat([module.Lt_history[step, :count], losses.detach()[steps == step].double()])
            newest = newest[-module.history_num_per_term :]
            module.Lt_history[step, : len(newest)] = newest
            module.Lt_count[step] = len(newest)

    module.update_Lt_history = update


def binary_loss(hidden: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    """The mean over T of the binary cross-entropy of the next item, `hidden` and `positive` (T, H), and of all its
    `negatives` (T, n, H)."""
    from torch.nn.functional import logsigmoid

    wrong = (negatives @ hidden[:, :, None]).squeeze(2)  # (T, n)
    return -(logsigmoid((hidden * positive).sum(-1)) + logsigmoid(-wrong).sum(-1)).mean()


def pair_loss(hidden: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The mean BPR loss of the next item's score against a negative's; all (T, H)."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid((hidden * (positive - negative)).sum(-1)).mean()


def softmax_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of `hidden @ weight.T` (T, N) against `targets` (T,), and its gradients.

    Equal to torch's without holding T × N numbers: each block of rows goes through scores, softmax and both gradients
    while it is in the processor's cache.
    """
    return _softmax_loss_function().apply(hidden, weight, targets)  # type: ignore[no-any-return]


@cache
def _softmax_loss_function() -> Any:
    import torch

    class SoftmaxLoss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
            rows = max(128, (_BLOCK if hidden.device.type == "cpu" else 64 * _BLOCK) // len(weight))
            total = hidden.new_zeros((), dtype=torch.float64)
            to_hidden, to_weight = torch.empty_like(hidden), torch.zeros_like(weight)
            for begin in range(0, len(hidden), rows):
                h, t = hidden[begin : begin + rows], targets[begin : begin + rows]
                scores = h @ weight.T  # (rows, N)
                column = t[:, None]
                target = scores.gather(1, column)
                highest = scores.amax(1, keepdim=True)
                scores.sub_(highest).exp_()
                mass = scores.sum(1, keepdim=True)
                total += (mass.log() + highest - target).double().sum()
                scores.div_(mass).scatter_add_(1, column, torch.full_like(target, -1.0))
                torch.mm(scores, weight, out=to_hidden[begin : begin + rows])
                to_weight.addmm_(scores.T, h)
            ctx.save_for_backward(to_hidden.div_(len(hidden)), to_weight.div_(len(hidden)))
            return (total / len(hidden)).to(hidden.dtype)

        @staticmethod
        def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, None]:
            to_hidden, to_weight = ctx.saved_tensors
            return to_hidden * above, to_weight * above, None

    return SoftmaxLoss


_BLOCK = 2**19
"""Scores that `softmax_loss` holds at once on a CPU: 2 MB, or 128 rows of a large catalogue."""

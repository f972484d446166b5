"""What encoders of one row have in common: attention of all tokens, and a last layer where its output is read.

Dimension letters: N packed tokens, R tokens that are read, D width, H heads, K head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lt_trainer.models.attention import AttentionPlan, attend, plan_attention
from lt_trainer.packed import Read, select_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from lt_trainer.models.configuration import PretrainedConfig


def attend_heads(
    q_RD: Tensor, k_ND: Tensor, v_ND: Tensor, plan: AttentionPlan, config: PretrainedConfig, dropout: float
) -> Tensor:
    """[R, D]: what the asking tokens learn from all tokens of their rows; each argument holds all heads, H * K = D."""
    heads = (config.num_attention_heads, -1)
    q_RHK, k_NHK, v_NHK = (x.unflatten(1, heads) for x in (q_RD, k_ND, v_ND))
    return attend(q_RHK, k_NHK, v_NHK, plan, dropout=dropout, implementation=config.attn_implementation).flatten(1)


class Layers(nn.Module):
    """Layers that take (asking tokens [R, D], all tokens [N, D], plan)."""

    def __init__(self, config: PretrainedConfig, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList(layers)

    def forward(self, x_ND: Tensor, lengths: tuple[int, ...], read: Read | None = None) -> Tensor:
        """Runs the layers.

        Args:
            x_ND: embedded tokens.
            lengths: of the rows, adding up to N.
            read: the tokens whose output is read: the last layer asks for those alone, which is exact.

        Returns:
            [R, D], or [N, D] without `read`.
        """
        heads = self.config.num_attention_heads
        plan = plan_attention(lengths, heads, device=x_ND.device)
        last = len(self.layer) - (read is not None)
        for layer in self.layer[:last]:
            x_ND = layer(x_ND, x_ND, plan)
        if read is None:
            return x_ND
        asking_RD = select_rows(x_ND, read.index_R)
        read_RD: Tensor = self.layer[last](asking_RD, x_ND, plan.asked_by(read.lengths, heads))
        return read_RD

"""What memory holds under SGLang 0.5.23, to the byte, in three layouts side by side.

    static    KV and states in two pools, split once by a ratio     `static_plan`
    unified   one buffer, KV and states from its two ends           `unified_plan`
    arena     cachepawl's frames                                    `arena_plan`

Each takes a model, the server's flags and the bytes that one rank has left for its cache
after the weights are loaded (`Budget`).  All sizes are those of one rank.
"""

from cachepawl.offline.sglang.memory.arena import ArenaPlan, arena_plan
from cachepawl.offline.sglang.memory.budget import Budget, DoesNotFit
from cachepawl.offline.sglang.memory.host import HostPlan, host_plan
from cachepawl.offline.sglang.memory.settle import Settled, settle
from cachepawl.offline.sglang.memory.static import StaticPlan, static_plan
from cachepawl.offline.sglang.memory.unified import UnifiedPlan, unified_plan

__all__ = [
    "ArenaPlan",
    "Budget",
    "DoesNotFit",
    "HostPlan",
    "Settled",
    "StaticPlan",
    "UnifiedPlan",
    "arena_plan",
    "host_plan",
    "settle",
    "static_plan",
    "unified_plan",
]

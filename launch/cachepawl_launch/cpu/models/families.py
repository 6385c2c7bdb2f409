"""SGLang's own classes for the tiny families, under the name its model registry looks for."""

from sglang.srt.models.falcon_h1 import FalconH1ForCausalLM
from sglang.srt.models.lfm2 import Lfm2ForCausalLM
from sglang.srt.models.nemotron_h import NemotronHForCausalLM
from sglang.srt.models.qwen3 import Qwen3ForCausalLM
from sglang.srt.models.qwen3_5_text import Qwen3_5ForCausalLM

EntryClass = [
    FalconH1ForCausalLM,
    Lfm2ForCausalLM,
    NemotronHForCausalLM,
    Qwen3ForCausalLM,
    Qwen3_5ForCausalLM,
]

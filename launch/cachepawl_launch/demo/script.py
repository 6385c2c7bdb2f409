"""What is asked, in which order, and what must come of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

ARENA_GB = {
    "nemotron_h": 0.0023,
    "qwen3_5": 0.0046,
    "falcon_h1": 0.0035,
    "lfm2": 0.0023,
    "qwen3": 0.0035,
}
"""GiB by family: some 4800 tokens, so that with a handful of strangers something has to go."""

SYSTEM = (
    "You are the night clerk of a small harbour library. Answer in one short sentence. "
    "Readers may borrow six books for four weeks; charts and logbooks stay in the house. "
    "The reading room opens at eight in the morning and closes when the last ferry leaves. "
    "Lost books are paid at the price of a new copy, late ones with a story told aloud. "
    "Children may take the ship models down from the shelf, but not the one in the bottle. "
    "If somebody asks for a book that we do not have, write its title on the green card and "
    "say when the mail boat comes. If somebody asks for the tide, look at the table on the "
    "wall, never at the clock. Sailors pay nothing, whatever they say they have done. "
    "Letters that wait for a reader lie in the third drawer, sorted by ship and not by name. "
    "The cat is called Ballast; it is not for loan. In a storm the lamp in the north window "
    "stays lit, and whoever comes in may sleep between the atlases, with boots off. "
    "Read aloud to anyone who asks, at most one chapter, and never the last one. "
    "Write down every question that you could not answer; the day clerk likes those best. "
    "The harbour master may see the logbooks, the tax inspector only with a letter. "
    "If you do not know, say so, and offer a chair and some tea."
)


@dataclass(frozen=True)
class Ask:
    """One request of a conversation.

    Attributes:
        label: What the table calls it.
        talk: Whose conversation goes on; all share the system prompt.
        text: What is said; None sends the latest request once more.
        least, most: The share of the prompt that must come from the cache.
    """

    label: str
    talk: str
    text: str | None
    least: float = 0.0
    most: float = 1.0


@dataclass(frozen=True)
class Strangers:
    """Unrelated requests until as much is evicted as was cached before, `most` of them at most.

    Each begins a conversation of its own, named after the label and its number.
    """

    label: str
    most: int


SCRIPT: Sequence[Ask | Strangers] = [
    Ask("chat 1, turn 1", "1", "Good evening. May I keep this chart?", most=0),
    Ask("chat 1, turn 2", "1", "Then what may I take home?", 0.5),
    Ask("chat 1, turn 3", "1", "And for how long?", 0.5),
    Ask("chat 2 branches off", "2", "When is high tide tomorrow?"),
    Ask("chat 3 branches off", "3", "My son broke the bottle.", 0.5),
    Ask("chat 3 once more", "3", None, 0.5),
    Strangers("stranger", most=16),
    Ask("chat 1 is back, turn 4", "1", "Sorry, I was out on deck.", 0.5),
    Ask("chat 1, turn 5", "1", "Is there still tea?", 0.5),
    Ask("stranger 1 once more", "stranger 1", None, most=0.25),
]

_WORDS = ("rope", "anchor", "lantern", "herring", "pilot", "fog", "barrel", "compass", "gull")


def strangers_prompt(number: int) -> str:
    """A long text that shares no beginning with any other; the same one every time."""
    draw = random.Random(number)
    return f"{number}: " + " ".join(draw.choices(_WORDS, k=180))

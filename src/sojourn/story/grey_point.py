"""The built-in story: a lamp that must not go out, eleven scenes, four of them endings."""

from __future__ import annotations

from typing import Final

from sojourn.story.scenes import Scene, Story

GREY_POINT: Final = Story(
    "The Lamp at Grey Point",
    Scene(
        "The causeway",
        "The tide is coming in behind you, and the lighthouse at Grey Point is dark. It has not been dark in ninety years. "
        "The door stands open. Out on the water a ship sounds its horn: once, long, and then once more, nearer.",
        {"Climb to the lamp": "The lamp room", "Look for the keeper": "The kitchen", "Go down to the boat": "The boathouse"},
    ),
    Scene(
        "The kitchen",
        "Two cups on the table, both warm. The keeper's coat is gone, the keeper's boots are not. On the wall a chart of the "
        "bay, and on it, in fresh pencil, a rock that no chart has. Under the stairs something drips.",
        {"Take the chart": "The lamp room", "See what drips": "The cellar", "Call out": "The boathouse"},
    ),
    Scene(
        "The cellar",
        "Oil, ankle deep. Somebody has cut the line that feeds the lamp: a clean cut, made in no hurry. There is a can of "
        "spare oil, and a second door, bolted from this side. Behind it, someone breathes.",
        {"Carry the can up": "The lamp room", "Open the bolted door": "The keeper", "Mend the line": "The long night"},
    ),
    Scene(
        "The keeper",
        "She is older than you thought, barefoot, and not surprised. 'I cut it,' she says. 'That ship has no crew. It has come "
        "every year, and every year I have shown it the way round the rock. I am tired of showing it the way.'",
        {"Believe her": "The dark", "Light the lamp all the same": "The lamp room", "Ask who is aboard": "The boathouse"},
    ),
    Scene(
        "The boathouse",
        "The boat is ready, oars in, lantern lit, as if it had been told of you. From here you see the ship: tall, three "
        "masts, every sail set, and not a voice. It will be on the rock within the hour.",
        {"Row out to it": "The ship", "Signal with the lantern": "The long night", "Go back up": "The lamp room"},
    ),
    Scene(
        "The lamp room",
        "Glass all round, and the great lens cold. There is oil for a quarter of an hour, perhaps, and one match in the tin. "
        "In the logbook the same line for every night of ninety years: 'Kept the light.' Today's is still empty.",
        {"Strike the match": "The long night", "Read the logbook": "The keeper", "Leave it dark": "The dark"},
    ),
    Scene(
        "The ship",
        "Nobody at the wheel, and the deck swept clean. In the captain's cabin lies a logbook, with the same line for every "
        "night of ninety years: 'Saw the light.' The wheel is yours, if one of you takes it.",
        {"Take the wheel": "Open water", "Ring the ship's bell": "The long night", "Write today's line": "Two logbooks"},
    ),
    Scene(
        "The long night",
        "Light. It goes out over the water, finds the rock, and stays on it. Slowly, sail by sail, the ship turns away. In the "
        "morning there is one line more in the logbook, and it is in your hand. You have kept the light. The end.",
        {"Play again": "The causeway"},
    ),
    Scene(
        "The dark",
        "You sit in the dark and listen. The horn comes nearer, and then, where the rock should be, there is no sound at all. "
        "At daybreak the bay is empty, and the keeper sleeps for the first time in years. The end.",
        {"Play again": "The causeway"},
    ),
    Scene(
        "Open water",
        "The wheel knows the way before you do. Past the rock, past the point, out to where no chart has anything. Behind you, "
        "very small, somebody lights a lamp. The end.",
        {"Play again": "The causeway"},
    ),
    Scene(
        "Two logbooks",
        "You write: 'Saw who keeps it.' On shore a door is unbolted, and bare feet come down to the water. The ship takes her "
        "aboard as if it had been waiting for nobody else. The lamp lights by itself. The end.",
        {"Play again": "The causeway"},
    ),
)

"""The architecture's promises that no linter keeps. Each rule also has to object to a sample, so none can be blind."""

from __future__ import annotations

import pytest

from support.house import (
    BROAD_PLACES,
    RULES,
    SHARE_WITHIN_USUAL,
    function_lengths,
    package_modules,
    sample,
    within_usual_length,
)

BAD = {
    "clock": [
        "import time\ntime.sleep(1)",
        "import time as t\nx = t.monotonic",
        "from time import time as now\nnow()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now(tz)",
    ],
    "environment": [
        "import os\nos.environ['HOME']",
        "from os import getenv\n",
        "from os import environ as e\ne.get('X')",
    ],
    "printing": [
        "print('x')",
        "import sys\nsys.stdout.write('x')",
        "import sys\nstream = sys.stderr",
        "import click\nclick.echo('x')",
        "from rich.console import Console\nConsole()",
    ],
    "exits": [
        "import sys\nsys.exit(1)",
        "raise SystemExit(2)",
        "import os\nos._exit(1)",
        "exit()",
    ],
    "broad except": [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept (ValueError, BaseException) as e:\n    g(e)",
        "import contextlib\nwith contextlib.suppress(Exception):\n    f()",
        "try:\n    f()\nexcept Exception as e:\n    raise ValueError from e",
    ],
    "one system": [
        "import fcntl",
        "def f():\n    import resource",
        "from termios import tcgetattr",
        "import msvcrt",
    ],
    "names": [
        "class BackupManager: pass",
        "class Handler: pass",
        "def process(x): pass",
        "def utils(): pass",
        "class HttpHelper: pass",
    ],
    "length": [
        "def f():\n" + "    x = 1\n" * 60,
        "x = 1\n" * 401,
    ],
}

GOOD = {
    "clock": [
        "import datetime\ndatetime.datetime(2026, 1, 1)",
        "clock.sleep(1)",
        "import time\ntime.strftime('%H', t)",
    ],
    "environment": ["settings.environ", "import os\nos.replace(a, b)"],
    "printing": ["console.print('x')", "import sys\nsys.byteorder"],
    "exits": ["error.exit(1)", "import sys\nsys.exc_info()"],
    "broad except": [
        "try:\n    f()\nexcept BaseException:\n    clean()\n    raise",
        "try:\n    f()\nexcept (OSError, ValueError):\n    pass",
    ],
    "one system": [
        "try:\n    import fcntl\nexcept ImportError:\n    fcntl = None",
        "import sys\nif sys.platform != 'win32':\n    import resource",
    ],
    "names": ["def process_id(): pass", "def unhandled(): pass", "class Utilisation: pass"],
    "length": ['def f():\n    """' + "x\n" * 70 + '    """\n' + "    x = 1\n" * 58],
}


@pytest.mark.parametrize("name", RULES)
def test_the_package_keeps_the_rule(name):
    findings = [finding for module in package_modules() for finding in RULES[name](module)]

    assert not findings, "\n".join(findings)


def test_nine_functions_in_ten_fit_within_thirty_lines():
    modules = package_modules()
    longest = sorted((length for module in modules for length in function_lengths(module)), reverse=True)

    assert within_usual_length(modules) >= SHARE_WITHIN_USUAL, longest[:20]


def test_a_package_of_long_functions_would_be_seen():
    long = sample("archive/x.py", "def f():\n" + "    x = 1\n" * 40)

    assert within_usual_length([long]) == 0


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_every_rule_objects_to_its_bad_samples(name, text):
    assert RULES[name](sample("archive/x.py", text))


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD.items() for text in texts])
def test_no_rule_objects_to_its_good_samples(name, text):
    assert RULES[name](sample("archive/x.py", text)) == []


def test_every_rule_has_samples():
    assert set(BAD) == set(GOOD) == set(RULES)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("clock", "clock.py"),
        ("environment", "cli/main.py"),
        ("printing", "cli/console.py"),
        ("printing", "engine/child.py"),
        ("exits", "cli/main.py"),
        ("exits", "engine/child.py"),
        ("exits", "engine/rest/__main__.py"),
    ],
)
def test_the_rooms_that_may_may(name, path):
    assert all(RULES[name](sample(path, text)) == [] for text in BAD[name])


@pytest.mark.parametrize("text", ["print('x')", "import sys\nsys.stdout.write('x')", "import click\nclick.echo('x')"])
@pytest.mark.parametrize("path", ["cli/backup.py", "cli/progress.py"])
def test_the_rest_of_cli_may_not_print(path, text):
    assert RULES["printing"](sample(path, text))


def test_cli_may_hand_the_streams_to_the_console():
    assert RULES["printing"](sample("cli/backup.py", "import sys\nConsole(sys.stdout, sys.stderr)")) == []


def test_only_the_embedded_server_waits_in_an_event_loop():
    waiting = "import asyncio\nasync def f():\n    await asyncio.sleep(1)"

    assert RULES["clock"](sample("qdrant/http.py", waiting))
    assert RULES["clock"](sample("engine/rest/faults.py", waiting)) == []


@pytest.mark.parametrize("path", sorted(BROAD_PLACES))
def test_the_places_that_catch_everything_do_it_once(path):
    once = sample(path, BAD["broad except"][0])
    twice = sample(path, BAD["broad except"][0] + "\n" + BAD["broad except"][0])

    assert RULES["broad except"](once) == []
    assert RULES["broad except"](twice)


def test_a_module_named_after_nothing_is_seen():
    assert RULES["names"](sample("storage/utils.py", "x = 1"))

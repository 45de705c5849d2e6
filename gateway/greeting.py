"""What `utter dev` prints when everything is up: lines that work when they are copied, from where it was started."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from gateway.data_dir import DEFAULT_DATA_DIR
from gateway.demo import CLONED_VOICE, MODAL_CLONED_VOICE
from gateway.settings import ProviderMode


def greeting(base_url: str, data_dir: Path, mode: ProviderMode) -> str:
    """The text. `data_dir` is where the demo lives; commands name it unless they would find it by themselves."""
    lines = ["", "Utter is ready.", "", f"  page   {base_url}/"]
    lines += _speaking(base_url, data_dir) if mode is ProviderMode.QWEN else _ordering(base_url, data_dir)
    return "\n".join([*lines, "", f"Data in {data_dir}. Ctrl-C stops everything.", ""])


def _speaking(base_url: str, data_dir: Path) -> list[str]:
    utter, where = _program(), _option(data_dir)
    return [
        f'  curl   curl -N {base_url}/api/generate/stream -H "Authorization: Bearer $({utter} token{where})" \\',
        f'              -d \'{{"voice_id": "{CLONED_VOICE}", "text": "Good morning."}}\' -o morning.mp3',
        f'  speak  {utter} say{where} "Good morning." -o morning.mp3',
        f"  voices {utter} voices{where}",
    ]


def _ordering(base_url: str, data_dir: Path) -> list[str]:
    """Modal mode knows the task flow only: an order, and its task until it has ended."""
    token = f"Authorization: Bearer $({_program()} token{_option(data_dir)})"
    return [
        "  mode   modal (TTS_PROVIDER_MODE)",
        f'  curl   curl {base_url}/api/generate -H "{token}" \\',
        f'              -d \'{{"voice_id": "{MODAL_CLONED_VOICE}", "language": "English", "text": "Good morning."}}\'',
        f'  then   curl {base_url}/api/tasks/TASK_ID -H "{token}"',
        f'         curl -L {base_url}/api/generations/GENERATION_ID/audio -H "{token}" -o morning.wav',
        f"  voices {_program()} voices{_option(data_dir)}",
    ]


def _program() -> str:
    """How this program was called: in a virtual environment that is not active, `utter` alone is not found."""
    called = Path(sys.argv[0])
    return shlex.quote(str(called)) if called.name == "utter" else f"{shlex.quote(sys.executable)} -m gateway.cli"


def _option(data_dir: Path) -> str:
    return "" if data_dir == DEFAULT_DATA_DIR.resolve() else f" --data-dir {shlex.quote(str(data_dir))}"

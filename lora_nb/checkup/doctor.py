"""Everything the doctor looks at, in one list."""

from pathlib import Path

from lora_nb.checkup.findings import Finding
from lora_nb.checkup.hardware import look_at_hardware
from lora_nb.checkup.packages import look_at_packages
from lora_nb.checkup.storage import look_at_folder
from lora_nb.checkup.tokens import look_at_tokens


def doctor(folder: Path | None = None) -> list[Finding]:
    """Look at everything a training needs here, one line each: what is well, and what is not with its way out.

    `folder` is where you want to work; without one it is the folder that Python runs in.
    """
    return [*look_at_packages(), *look_at_hardware(), *look_at_folder(folder or Path.cwd()), *look_at_tokens()]

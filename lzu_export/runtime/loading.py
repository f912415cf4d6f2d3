"""Types of `load`, so that editors and type checkers know what it takes and returns."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, overload

from lzu_export.runtime.predictor import Predictor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lzu_export.runtime.postprocessing.custom import Function

Kind = TypeVar("Kind", bound=Predictor)
"""Class of the predictor that is asked for."""


class LoadOptions(TypedDict, total=False):
    """Optional arguments of `bundle.load.load`, which explains them."""

    target: str | None
    precision: str | None
    resize: bool
    threads: int | None
    provider: str
    cuda: str | None
    device: int | None
    plugins: Path | None
    graph: bool | None
    runtime_cache: bool
    feedback: bool
    host_code: bool
    fit: str | None
    pixel_format: str
    score_threshold: float | None
    iou_threshold: float | None
    max_detections: int | None
    class_agnostic: bool
    classes: Collection[str] | None
    postprocess: "Function | None"


class Load(Protocol):
    """Type of `load`: what a bundle is opened as follows from the class that is asked for."""

    @overload
    def __call__(
        self, bundle: str | Path, kind: type[Kind], **options: "Unpack[LoadOptions]"
    ) -> Kind: ...

    @overload
    def __call__(
        self, bundle: str | Path, kind: None = None, **options: "Unpack[LoadOptions]"
    ) -> Any: ...

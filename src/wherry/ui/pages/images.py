"""The pages of images: what the store has, what brought which bytes of one, and what an update between two would move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.deliver.body_cache import BodyCache
from wherry.deliver.difference import Difference
from wherry.deliver.ends import diff_ends, read_stored_ends
from wherry.deliver.update_weight import weigh_update
from wherry.errors import UsageError, WherryError
from wherry.formats.lockfile import parse_lock
from wherry.model.lock import PlatformLock
from wherry.model.oci import Descriptor
from wherry.store.causes import describes_image, requirement_tree
from wherry.store.images import StoredImage, read_images
from wherry.store.places import cache_path
from wherry.ui.desk import Desk
from wherry.ui.patches import draw_patches
from wherry.ui.rendering import render_page

_LOCKFILE = "wherry.lock"
_SELDOM, _OFTEN = 15, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An image by name; `error` says why there is nothing to see of it."""

    name: str
    digest: str
    images: tuple[StoredImage, ...] = ()
    error: WherryError | None = None


def show_images(desk: Desk, request: Request) -> Response:
    found = [_read_named(desk, name, descriptor) for name, descriptor in sorted(desk.store.names().items())]
    return render_page(request, "images.html", page="images", found=found, every=_SELDOM)


def _read_named(desk: Desk, name: str, descriptor: Descriptor) -> Named:
    """One that is damaged says so, and hides no other."""
    try:
        return Named(name=name, digest=str(descriptor.digest), images=read_images(desk.store, descriptor))
    except WherryError as error:
        return Named(name=name, digest=str(descriptor.digest), error=error)


def show_image(desk: Desk, request: Request) -> Response:
    name = _read_text(request, "name")
    images = read_images(desk.store, desk.store.resolve(name))
    wanted = request.query_params.get("platform")
    chosen = [image for image in images if wanted in (None, str(image.platform))]
    if not chosen:
        have = ", ".join(str(image.platform) for image in images) or "none"
        raise UsageError(f"{name} has no image for {wanted or 'any platform'}; there are: {have}")
    image = chosen[0]
    locked = _find_lock(desk, image)
    causes = requirement_tree(image.layers, locked)
    return render_page(
        request,
        "image.html",
        page="images",
        name=name,
        image=image,
        images=images,
        causes=causes,
        patches=draw_patches(causes),
        largest=max((layer.size for layer in image.layers), default=1) or 1,
        locked=locked is not None,
        lockfile=desk.root / _LOCKFILE,
        history=[entry for entry in image.config.history if not entry.created_by.startswith("wherry ")],
    )


def _find_lock(desk: Desk, image: StoredImage) -> PlatformLock | None:
    """The project's lock, if it is this image's; one that is damaged or missing is no reason to show nothing."""
    try:
        lock = parse_lock((desk.root / _LOCKFILE).read_text(encoding="utf-8"), _LOCKFILE)
    except (OSError, UnicodeDecodeError, WherryError):
        return None
    fitting = (each for each in lock.platforms if each.platform == image.platform and describes_image(each, image.layers))
    return next(fitting, None)


def show_update(desk: Desk, request: Request) -> Response:
    base, target = _read_text(request, "base"), _read_text(request, "target")
    differences = _compare(desk, base, target)
    weights = {each.target: desk.weighing.find((each.base, each.target)) for each in differences}
    return render_page(
        request,
        "update.html",
        page="images",
        base_name=base,
        target_name=target,
        names=sorted(desk.store.names()),
        differences=differences,
        weights=weights,
        pair=urlencode({"base": base, "target": target}),
        every=_OFTEN if any(weight and not weight.is_known for weight in weights.values()) else None,
    )


def weigh_updates(desk: Desk, request: Request) -> Response:
    """Begin to cut the update on each platform; the page shows what it weighs once that is known."""
    base, target = _read_text(request, "base"), _read_text(request, "target")
    cache = BodyCache(cache_path(desk.env) / "bodies")
    for each in _compare(desk, base, target):
        if not each.is_empty:
            weigh = partial(weigh_update, desk.store, each.base, each.target, datetime.now(UTC), cache)
            desk.weighing.begin((each.base, each.target), weigh)
    place = request.url.path.removesuffix("/weigh")
    return RedirectResponse(f"{place}?{urlencode({'base': base, 'target': target})}", status_code=303)


def _compare(desk: Desk, base: str, target: str) -> list[Difference]:
    return diff_ends(read_stored_ends(desk.store, base), read_stored_ends(desk.store, target))


def _read_text(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if not text:
        raise UsageError(f"which {name}?", where=request.url.path)
    return text

"""`xpconv info`: the installation, or a model file."""

from __future__ import annotations

import argparse
import json


def info(options: argparse.Namespace) -> int:
    """Run the command; the status is 1 if the backend is unusable."""
    if options.model:
        return _model(options)
    from ..info import collect, report

    facts = collect()
    if options.json:
        print(json.dumps({**facts._asdict(), "rate": facts.rate._asdict()}))
    else:
        print(report(facts))
    return 1 if facts.backend_error else 0


def _model(options: argparse.Namespace) -> int:
    from .image_model import ImageInfo, open_model
    from .images import printable

    model = open_model(options.model)
    found = ImageInfo.of(model, options.model) if hasattr(model, "image_info") else None
    if options.json:
        size = sum(p.size for p in model.parameters())
        print(json.dumps({"parameters": size, "layers": repr(model), **(found._asdict() if found else {})}))
        return 0
    print(model.summary(found.shape if found else None))
    if found:
        names = ", ".join(map(printable, found.classes))
        print(f"\nimages {found.shape}, {len(found.classes)} classes: {names}")
    return 0

"""What a service says of itself: an OpenAPI document (3.1), and a page for people that needs nothing from anywhere else."""

from __future__ import annotations

import html
import json
from typing import Any

from wherry.score.script import Script
from wherry.score.signature import describe_type

_DETAIL = {
    "type": "object",
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        }
    },
}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}, "id": {"type": "string"}}}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
textarea, pre {{ width: 100%; box-sizing: border-box; font: 14px/1.4 monospace; overflow: auto }}
</style>
<h1>{title}</h1>
<p><code>POST /score</code> one reading · <a href="/health">/health</a> · <a href="/openapi.json">/openapi.json</a></p>
<form><label for="body">A reading, as JSON</label><textarea id="body" rows="8">{example}</textarea><button>Score</button></form>
<pre id="answer" aria-live="polite"></pre>
<details><summary>What it takes and gives</summary><pre>{schema}</pre></details>
<script>
document.querySelector("form").onsubmit = async (event) => {{
  event.preventDefault();
  const answer = await fetch("/score", {{ method: "POST", body: document.getElementById("body").value }});
  document.getElementById("answer").textContent = answer.status + "\\n" + await answer.text();
}};
</script></html>
"""


def render_openapi(title: str, script: Script) -> dict[str, Any]:
    """The document, with the schemas of what the script's annotations say."""
    schemas: dict[str, Any] = {}
    taken, given = (_lift(describe_type(hint, mode), schemas) for hint, mode in _sides(script))
    problems = {"422": ("The reading is not what the model takes", _DETAIL), "500": ("The script failed", _ERROR)}
    more = {"413": "The request is too large", "503": "Not ready yet, or too much to do"}
    score = {
        "operationId": "score",
        "summary": "Score one reading",
        "requestBody": {"required": True, "content": {"application/json": {"schema": taken}}},
        "responses": {
            "200": _response("The score", given),
            **{code: _response(*told) for code, told in problems.items()},
            **{code: _response(text, _ERROR) for code, text in more.items()},
        },
    }
    health = {
        "operationId": "health",
        "summary": "Whether readings are scored",
        "responses": {"200": _response("Ready", {}), "503": _response("Not ready yet", {})},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": {"/score": {"post": score}, "/health": {"get": health}},
        "components": {"schemas": schemas},
    }


def render_page(title: str, document: dict[str, Any]) -> str:
    """The page: a reading can be tried, and what is taken and given is shown."""
    body = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    shown = json.dumps({"takes": body, **document["components"]}, indent=2)
    example = json.dumps(_example(body, document["components"]["schemas"]), indent=2)
    return _PAGE.format(title=html.escape(title), example=html.escape(example), schema=html.escape(shown))


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Something of the right form to begin with: the author's own example, else every field with nothing much in it."""
    schema = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
    for told in ("example", "default", "const"):
        if told in schema:
            return schema[told]
    if chosen := schema.get("examples") or schema.get("enum"):
        return chosen[0]
    if "properties" in schema:
        return {
            name: _example(inner, schemas) for name, inner in schema["properties"].items() if name in schema.get("required", ())
        }
    plain = {"string": "", "number": 0.0, "integer": 0, "boolean": False, "array": [], "null": None}
    return plain.get(str(schema.get("type")), {})


def _sides(script: Script) -> tuple[tuple[Any, str], tuple[Any, str]]:
    return (script.takes, "validation"), (script.gives, "serialization")


def _lift(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A schema whose parts with names are the document's; one with a name of its own is referred to by it."""
    schemas.update(schema.pop("$defs", {}))
    title = schema.get("title")
    if schema.get("type") == "object" and isinstance(title, str):
        schemas.setdefault(title, schema)
        return {"$ref": f"#/components/schemas/{title}"}
    return schema


def _response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}

"""The OpenAPI document as a page that loads nothing: no script, no font, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { padding: .75rem; overflow-x: auto; border: 1px solid #8886; border-radius: .25rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid #8886; padding-top: 1rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; }
"""

EXAMPLES = {
    "application/json": "-H 'content-type: application/json' -d '{body}'",
    "multipart/form-data": "-F file=@picture.jpg",
}


def page(described: dict[str, Any]) -> tuple[str, str]:
    """HTML of the document, and the content security policy that goes with it."""
    parts = [
        operation(described, method, path, found)
        for path, methods in described["paths"].items()
        for method, found in methods.items()
    ]
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>sidecar {escape(described['info']['version'])}: HTTP</title>"
        f"<style>{STYLE}</style></head><body><main>"
        f"<h1>sidecar {escape(described['info']['version'])} over HTTP</h1>"
        '<p>For programs: <a href="openapi.json">openapi.json</a>. Whatever goes wrong is told in'
        " problem documents (RFC 9457).</p>"
        f"{''.join(parts)}</main></body></html>"
    )
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return html, f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"


def operation(described: dict[str, Any], method: str, path: str, found: dict[str, Any]) -> str:
    """One route: what it does, a call to copy, what goes in, what comes out."""
    sent = found.get("requestBody", {}).get("content", {})
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td></tr>"
        for status, response in found["responses"].items()
    )
    schemas = [
        (title, resolved(described, content["schema"]))
        for title, contents in (("Body", sent), ("Answer", answered(found)))
        for content in contents.values()
        if "schema" in content
    ]
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(found['summary'])}.</p>"
        f"<pre>{escape(call(described, method, path, found))}</pre>"
        + "".join(
            f"<details><summary>{title}</summary>"
            f"<pre>{escape(json.dumps(schema, indent=2))}</pre></details>"
            for title, schema in schemas
        )
        + f"<details><summary>Status codes</summary><table>{rows}</table></details>"
    )


def call(described: dict[str, Any], method: str, path: str, found: dict[str, Any]) -> str:
    """The route as a curl command."""
    words = ["curl"]
    if "security" in found:
        words.append('-H "authorization: Bearer $SIDECAR_TOKEN"')
    for kind, content in found.get("requestBody", {}).get("content", {}).items():
        body = resolved(described, content["schema"]).get("example", {})
        words.append(EXAMPLES[kind].replace("{body}", json.dumps(body)))
    words.append(f"http://127.0.0.1:9000{path}")
    return " ".join(words)


def answered(found: dict[str, Any]) -> dict[str, Any]:
    """What comes with 200, by media type."""
    content: dict[str, Any] = found["responses"]["200"].get("content", {})
    return content


def resolved(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself where it is only named."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return described["components"]["schemas"][name] if name else schema

"""Writes docs/configuration.md from docs/cohort.schema.json, which is made from the types.

Usage: python scripts/configuration_page.py > docs/configuration.md
"""

import json
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
HEAD = """\
# Configuration

Every key, made from the JSON Schema of the types ([cohort.schema.json](cohort.schema.json), which is also what
`cohort schema` prints) by `make docs`. Unknown keys, duplicate keys, wrong types and anything that cannot be
honoured are refused with the path; nothing is clamped, dropped or silently defaulted.

Durations are a whole number and one unit: `500ms`, `30s`, `10m`, `1h`, `7d`. Instants are RFC 3339. A weight is
a percentage from 0 to 100 with at most three decimals. [deciding.md](deciding.md) says how the parts work
together.
"""


def code(value) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


class Page:
    def __init__(self, schema: dict):
        self.schema = schema
        self.definitions = schema.get("$defs", {})

    def resolve(self, node: dict) -> tuple[str | None, dict]:
        name = node.get("$ref", "").removeprefix("#/$defs/") or None
        return name, {**self.definitions[name], **{k: v for k, v in node.items() if k != "$ref"}} if name else node

    def kind(self, node: dict) -> str:
        name, node = self.resolve(node)
        if name and "properties" in node:
            return f"[{name}](#{name.lower()})"
        if "enum" in node:
            return ", ".join(code(word) for word in node["enum"])
        if "const" in node:
            return code(node["const"])
        if node.get("type") == "array":
            return f"list of {self.kind(node['items'])}"
        if node.get("type") == "object" and isinstance(node.get("additionalProperties"), dict):
            return f"map to {self.kind(node['additionalProperties'])}"
        if "anyOf" in node or "oneOf" in node:
            return " or ".join(self.kind(way) for way in node.get("anyOf", node.get("oneOf")))
        return node.get("type", "any")

    def section(self, title: str, node: dict) -> str:
        required = node.get("required", [])
        lines = [f"## {title}", "", node.get("description", ""), "", "| key | what it holds | default | meaning |"]
        lines.append("|---|---|---|---|")
        for key, value in node["properties"].items():
            _, whole = self.resolve(value)
            default = code(whole["default"]) if "default" in whole else "required" if key in required else ""
            about = value.get("description", whole.get("description", "")).replace("|", "\\|").replace("\n", " ")
            lines.append(f"| `{key}` | {self.kind(value)} | {default} | {about} |")
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        name, top = self.resolve(self.schema)
        objects = [(n, d) for n, d in sorted(self.definitions.items()) if n != name and "properties" in d]
        parts = [HEAD, self.section("The configuration", top), *(self.section(n, d) for n, d in objects)]
        return "\n".join(parts)


if __name__ == "__main__":
    print(Page(json.loads((DOCS / "cohort.schema.json").read_text())).text(), end="")

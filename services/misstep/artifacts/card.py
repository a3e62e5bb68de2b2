"""The README of an exported data set folder, with the header that Hugging Face ``datasets`` reads."""

from __future__ import annotations

import json

import yaml

from misstep.artifacts.manifest import Manifest
from misstep.artifacts.records import TABLES


def dataset_card(manifest: Manifest, tables: list[str]) -> str:
    """Return the dataset card: configurations, counts, columns, and the origin of the data.

    A table without rows is described but has no configuration, because ``datasets`` refuses to load it.
    """
    rows = manifest.tables()
    filled = [table for table in tables if rows.get(table)]
    header = {
        "pretty_name": f"Misstep {manifest.name}",
        "tags": ["misstep", manifest.kind.value],
        "configs": [
            {
                "config_name": table,
                "default": table == filled[0],
                "data_files": [{"split": "train", "path": f"data/{table}/train-*.parquet"}],
            }
            for table in filled
        ],
    }
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {manifest.name}",
        "",
        f"Exported from the artifact `{manifest.key}` of Misstep {manifest.tools.get('misstep', '')}: "
        f"the tables of one `{manifest.kind.value}` stage.",
    ]
    for table in tables:
        lines += ["", f"## {table}: {rows.get(table, 0)} rows", "", "| column | type | may be empty |", "|---|---|---|"]
        for column in TABLES[manifest.kind.value][table]:
            lines.append(f"| `{column.name}` | `{column.type}` | {'yes' if column.nullable else 'no'} |")
    for title, data in (("Summary", manifest.summary), ("Parameters", manifest.params)):
        lines += ["", f"## {title}", "", "```json", json.dumps(data, indent=1, ensure_ascii=False), "```"]
    return "\n".join(lines) + "\n"

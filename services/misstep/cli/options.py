"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = "file://.misstep/store"

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment YAML.", show_default=False)]
WhichArgument = Annotated[
    str, typer.Argument(metavar="FILE|NAME", help="Experiment YAML, or the name of one that ran here.")
]
DataOption = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=DIR", help="Local folder of the data that the YAML calls NAME. Repeatable."),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME=DIR", help="Local folder of the model that the YAML calls NAME."),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage", metavar="URI", help="Store to use instead of the YAML's: file://DIR or s3://BUCKET/PREFIX."
    ),
]
WorkOption = Annotated[
    Path | None,
    typer.Option("--work", metavar="DIR", help="Folder for logs and the report.", show_default=".misstep/NAME"),
]
ParallelOption = Annotated[
    int | None,
    typer.Option("--parallel", min=1, metavar="N", help="Stage processes at once.", show_default="what cores allow"),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only failures and the result.")]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAMESPACE",
        help="Look at the Experiment NAME in this namespace of kubectl's current cluster.",
    ),
]
StoreUriOption = Annotated[str, typer.Option("--storage", metavar="URI", help="file://DIR or s3://BUCKET/PREFIX.")]
EndpointOption = Annotated[str | None, typer.Option(metavar="URL", help="Address of an S3-compatible server.")]
RegionOption = Annotated[str | None, typer.Option(help="S3 region.")]
PathStyleOption = Annotated[bool, typer.Option("--path-style", help="No host name per bucket.")]
CaBundleOption = Annotated[str | None, typer.Option(metavar="FILE", help="Certificates to trust for the endpoint.")]

"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = "file://.misstep/store"

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment YAML.", show_default=False)]
WhichArgument = Annotated[
    str, typer.Argument(metavar="FILE|NAME", help="Experiment YAML, or the name of an experiment that ran here.")
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="NAME=DIR", help="Local folder of the data that the YAML calls NAME. May be repeated."
    ),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model", metavar="NAME=DIR", help="Local folder of the model that the YAML calls NAME. May be repeated."
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URI",
        help="Store to use instead of the one in the YAML: file://DIR or s3://BUCKET/PREFIX.",
    ),
]
WorkOption = Annotated[
    Path | None,
    typer.Option("--work", metavar="DIR", help="Folder for logs and the report.", show_default=".misstep/NAME"),
]
ParallelOption = Annotated[
    int | None,
    typer.Option(
        "--parallel", min=1, metavar="N", help="How many stages run at once.", show_default="as many as cores allow"
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only failures and the result.")]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAMESPACE",
        help="Show the Experiment NAME of this namespace, in kubectl's current cluster.",
    ),
]
StoreUriOption = Annotated[
    str, typer.Option("--storage", metavar="URI", help="Store: file://DIR or s3://BUCKET/PREFIX.")
]
EndpointOption = Annotated[str | None, typer.Option(metavar="URL", help="Address of an S3-compatible server.")]
RegionOption = Annotated[str | None, typer.Option(help="S3 region.")]
PathStyleOption = Annotated[
    bool, typer.Option("--path-style", help="Put the bucket in the path of URLs, not in the host name.")
]
CaBundleOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="PEM file with the certificate authorities of the endpoint.")
]

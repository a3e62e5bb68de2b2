"""Options that name a store without an Experiment."""

from __future__ import annotations

from typing import Annotated

import typer

StoreUri = Annotated[
    str, typer.Option("--storage", metavar="URI", help="file://DIR or s3://BUCKET/PREFIX.", show_default=False)
]
LocalStoreUri = Annotated[str, typer.Option("--storage", metavar="URI", help="file://DIR or s3://BUCKET/PREFIX.")]
Endpoint = Annotated[str | None, typer.Option(metavar="URL", help="Address of an S3-compatible server.")]
Region = Annotated[str | None, typer.Option(help="S3 region.")]
PathStyle = Annotated[bool, typer.Option("--path-style", help="No host name per bucket.")]
CaBundle = Annotated[str | None, typer.Option(metavar="FILE", help="Certificates to trust for the endpoint.")]

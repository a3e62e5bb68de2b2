#!/bin/sh
# Removes from an environment what its programs never read: tests, C headers, type stubs, and the parts of pyarrow that speak
# protocols which nobody here speaks.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
find "$site" -type d -name tests -not -path '*/misstep/*' -prune -exec rm -rf {} +
find "$site" -name '*.pyi' -delete
rm -rf "$site"/pyarrow/include "$site"/pyarrow/src "$site"/numpy/_core/include
rm -f "$site"/pyarrow/libarrow_flight.so* "$site"/pyarrow/libarrow_substrait.so* "$site"/pyarrow/*.pyx "$site"/pyarrow/*.pxi

#!/bin/sh
# Removes from an environment what Misstep's programs never read, and compiles the rest, since a pod's root is read-only.
#   images/trim.sh ENVIRONMENT
set -eu
site=$(echo "$1"/lib/python3*/site-packages)

# Tests, C headers and type stubs.
find "$site" -type d -name tests -prune -exec rm -rf {} +
find "$site" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' -o -name '*.a' \) -delete
rm -rf "$site"/pyarrow/include "$site"/pyarrow/src "$site"/numpy/_core/include

# The parts of pyarrow that speak protocols and read formats which nobody here uses: the store is reached by boto3.
rm -f "$site"/pyarrow/libarrow_flight.so* "$site"/pyarrow/libarrow_python_flight.so* "$site"/pyarrow/libarrow_s3.so* \
  "$site"/pyarrow/libarrow_python_parquet_encryption.so*
for part in flight s3fs gcsfs azurefs hdfs orc dataset_orc substrait parquet_encryption dataset_parquet_encryption pyarrow_cpp_tests; do
  rm -f "$site"/pyarrow/_$part.*.so
done
# Wheels have no symbolic links: the same library under three names.
for copy in "$site"/pyarrow/libarrow_python*.so "$site"/pyarrow/libarrow_python*.so.*; do
  whole=$(ls "$site"/pyarrow/"$(basename "${copy%.so*}")".so.*.*.* 2>/dev/null || true)
  if [ -n "$whole" ] && [ "$copy" != "$whole" ] && cmp -s "$copy" "$whole"; then
    ln -sf "$(basename "$whole")" "$copy"
  fi
done
# Its symbols for debuggers: a fifth of it. Other wheels are not touched, since `strip` damages what their makers have patched.
if command -v strip >/dev/null; then
  find "$site"/pyarrow -type f -name '*.so*' -exec strip --strip-unneeded {} + 2>/dev/null || true
fi

# Descriptions of cloud services other than the store's and its identities'.
for service in "$site"/botocore/data/*/; do
  case $(basename "$service") in
    s3 | sts | sso | sso-oidc | signin) ;;
    *) rm -r "$service" ;;
  esac
done
# Languages whose code no program here prints: tracebacks show Python alone.
if [ -d "$site"/pygments/lexers ]; then
  find "$site"/pygments/lexers -name '*.py' ! -name __init__.py ! -name _mapping.py ! -name python.py ! -name special.py -delete
fi
# Grammars for other versions of ANTLR than the lock's, and a language of mechanics.
rm -rf "$site"/latex2sympy2_extended/gen/antlr4_9_3 "$site"/latex2sympy2_extended/gen/antlr4_11_0 "$site"/sympy/parsing/autolev

# Fields of mathematics that answers to problems do not use are compiled when somebody asks for them.
python3 -m compileall -q -j 0 "$1/lib" \
  -x '/sympy/(benchmarks|categories|codegen|crypto|diffgeom|holonomic|liealgebras|physics/[^u]|stats|testing|vector)'

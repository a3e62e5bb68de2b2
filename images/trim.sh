#!/bin/sh
# Removes from an environment what Misstep's programs never read: tests, C headers, type stubs, descriptions of cloud services other
# than the store's and its identities', and the parts of pyarrow that speak protocols which nobody here speaks (the store is reached
# by boto3, not by pyarrow).
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
find "$site" -type d -name tests -prune -exec rm -rf {} +
find "$site" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' -o -name '*.a' \) -delete
rm -rf "$site"/pyarrow/include "$site"/pyarrow/src "$site"/numpy/_core/include
for part in flight s3; do
  rm -f "$site"/pyarrow/libarrow_$part.so*
done
rm -f "$site"/pyarrow/_flight.*.so "$site"/pyarrow/_s3fs.*.so
for service in "$site"/botocore/data/*/; do
  case $(basename "$service") in
    s3 | sts | sso | sso-oidc | signin) ;;
    *) rm -r "$service" ;;
  esac
done
# Wheels have no symbolic links: the same library under three names.
for copy in "$site"/pyarrow/libarrow_python*.so "$site"/pyarrow/libarrow_python*.so.*; do
  whole=$(ls "$site"/pyarrow/"$(basename "${copy%.so*}")".so.*.*.* 2>/dev/null || true)
  if [ -n "$whole" ] && [ "$copy" != "$whole" ] && cmp -s "$copy" "$whole"; then
    ln -sf "$(basename "$whole")" "$copy"
  fi
done

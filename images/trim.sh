#!/bin/sh
# Removes from an environment what Misstep's programs never read: tests, C headers, type stubs, descriptions of cloud services other
# than the store's and its identities', and the parts of pyarrow that speak protocols which nobody here speaks (the store is reached
# by boto3, not by pyarrow).
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
find "$site" -type d -name tests -not -path '*/misstep*' -prune -exec rm -rf {} +
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

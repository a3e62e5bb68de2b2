{{- define "misstep.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "misstep.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of an object. Takes a list: the root, the component. */}}
{{- define "misstep.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "misstep.selector" $root }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: misstep
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A full image name. Takes a list: the root, the image's values. */}}
{{- define "misstep.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion }}{{ end }}
{{- end -}}

{{- define "misstep.operatorAccount" -}}
{{- $account := .Values.operator.serviceAccount -}}
{{- if and (not $account.create) (not $account.name) -}}
{{- fail "operator.serviceAccount.create is false: name an account that is there in operator.serviceAccount.name" -}}
{{- end -}}
{{- default (printf "%s-operator" (include "misstep.fullname" .)) $account.name -}}
{{- end -}}

{{/* The account of stages. */}}
{{- define "misstep.stageAccount" -}}
{{- $account := .Values.stages.serviceAccount -}}
{{- if $account.name -}}
{{- $account.name -}}
{{- else if $account.create -}}
{{- printf "%s-stages" (include "misstep.fullname" .) -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* The pods of stages. */}}
{{- define "misstep.stageSelector" -}}
matchLabels:
  app.kubernetes.io/name: misstep
  app.kubernetes.io/managed-by: misstep-operator
{{- end -}}

{{/* The namespaces in which stages are known to run, as JSON. Takes a list: the root, more namespaces. */}}
{{- define "misstep.stageNamespaces" -}}
{{- $root := index . 0 -}}
{{- $watched := default (list $root.Release.Namespace) $root.Values.watchNamespaces -}}
{{- concat $watched (index . 1) | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* The namespaces in which `helm test` tries the store as stages do, as JSON: none where nobody has said which of them have
     the Secret or the account of stages. */}}
{{- define "misstep.testNamespaces" -}}
{{- $account := .Values.stages.serviceAccount -}}
{{- $elsewhere := or .Values.stages.envSecret (and $account.name (not $account.create)) -}}
{{- if not (or .Values.test.storage.uri .Values.devS3.enabled) -}}
[]
{{- else if or .Values.test.storage.namespaces .Values.watchNamespaces -}}
{{- default .Values.watchNamespaces .Values.test.storage.namespaces | uniq | sortAlpha | toJson -}}
{{- else -}}
{{- ternary (list) (list .Release.Namespace) (not (empty $elsewhere)) | toJson -}}
{{- end -}}
{{- end -}}

{{- define "misstep.devSecret" -}}
{{- default (printf "%s-dev-s3" (include "misstep.fullname" .)) .Values.devS3.existingSecret -}}
{{- end -}}

{{- define "misstep.devEndpoint" -}}
http://{{ include "misstep.fullname" . }}-dev-s3.{{ .Release.Namespace }}.svc:7070
{{- end -}}

{{/* Secrets with the environment of operator and stages; empty where there is none. */}}
{{- define "misstep.operatorSecret" -}}
{{- if .Values.operator.envSecret }}{{ .Values.operator.envSecret }}{{ else if .Values.devS3.enabled }}{{ include "misstep.devSecret" . }}{{ end }}
{{- end -}}
{{- define "misstep.stageSecret" -}}
{{- if .Values.stages.envSecret }}{{ .Values.stages.envSecret }}{{ else if .Values.devS3.enabled }}{{ include "misstep.devSecret" . }}{{ end }}
{{- end -}}

{{/* The stores that the operator reads, as JSON. The development server is one of them, for the namespaces that have its
     Secret, where others are listed; where none is, it is the operator's own endpoint anyway. */}}
{{- define "misstep.stores" -}}
{{- $dev := .Values.devS3 -}}
{{- $stores := default list .Values.stores -}}
{{- if and $stores $dev.enabled (not .Values.operator.envSecret) -}}
{{- $have := ternary (list "*") (concat (default list .Values.watchNamespaces) (default list $dev.namespaces) (list .Release.Namespace)) (not (empty $dev.existingSecret)) -}}
{{- $own := dict "uri" (printf "s3://%s" $dev.bucket) "endpoint" (include "misstep.devEndpoint" .) "region" "us-east-1" "pathStyle" true "namespaces" ($have | uniq | sortAlpha) -}}
{{- $stores = append $stores $own -}}
{{- end -}}
{{- toJson $stores -}}
{{- end -}}

{{/* The nodes of the operator, and of everything else that the chart runs. */}}
{{- define "misstep.placement" -}}
{{- with .Values.operator.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Requirements of the "restricted" pod security standard for a pod and a container. */}}
{{- define "misstep.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "misstep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

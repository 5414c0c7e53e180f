{{- /* The name of the operator's own objects. */ -}}
{{- define "shopkeeper.name" -}}
{{- $prefix := .Release.Name | trunc 30 | trimSuffix "-" }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if contains "shopkeeper" $prefix }}{{ $prefix }}-operator{{ else }}{{ $prefix }}-shopkeeper-operator{{ end }}
{{- end }}

{{- define "shopkeeper.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "shopkeeper.name" .) }}
{{- end }}

{{- define "shopkeeper.image" -}}
{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "shopkeeper.selector" -}}
app.kubernetes.io/name: shopkeeper-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "shopkeeper.labels" -}}
{{ include "shopkeeper.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

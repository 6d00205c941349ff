{{/* Names. */}}
{{- define "fanfare.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "fanfare.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "fanfare.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "fanfare.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fanfare.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "fanfare.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Labels. The selector's never change in a release's life. */}}
{{- define "fanfare.selectorLabels" -}}
app.kubernetes.io/name: {{ include "fanfare.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "fanfare.labels" -}}
{{ include "fanfare.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: fanfare
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether nodes are linked. */}}
{{- define "fanfare.redis" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* The secret with Redis's address. */}}
{{- define "fanfare.redisSecret" -}}
{{- default (printf "%s-redis" (include "fanfare.fullname" .)) .Values.redis.existingSecret -}}
{{- end -}}

{{/* One value as TOML. Numbers of values files arrive as floats, and Fanfare takes whole ones. */}}
{{- define "fanfare.tomlValue" -}}
{{- if kindIs "map" . -}}
{ {{- range $i, $key := keys . | sortAlpha }}{{ if $i }},{{ end }} {{ $key }} = {{ include "fanfare.tomlValue" (index $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{- range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "fanfare.tomlValue" $item }}{{ end }}]
{{- else if kindIs "float64" . -}}
{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* fanfare.toml: the chart's own keys, then `config`. */}}
{{- define "fanfare.toml" -}}
{{- $own := dict
  "listen" (printf "%s:8080" .Values.bindAddress)
  "internal" (dict "listen" (printf "%s:8081" .Values.bindAddress))
  "drain" (dict
    "window" (printf "%ds" (int .Values.drain.windowSeconds))
    "timeout" (printf "%ds" (sub (int .Values.terminationGracePeriodSeconds) (int .Values.drain.preStopSeconds) | add -5))) -}}
{{- $config := mergeOverwrite (deepCopy .Values.config) $own -}}
{{- range $key := keys $config | sortAlpha -}}
{{- $value := index $config $key -}}
{{- if not (or (kindIs "map" $value) (and (kindIs "slice" $value) (kindIs "map" (first $value)))) -}}
{{ $key }} = {{ include "fanfare.tomlValue" $value }}
{{ end -}}
{{- end -}}
{{- range $key := keys $config | sortAlpha -}}
{{- $value := index $config $key -}}
{{- if kindIs "map" $value }}
[{{ $key }}]
{{ range $inner := keys $value | sortAlpha -}}
{{ $inner }} = {{ include "fanfare.tomlValue" (index $value $inner) }}
{{ end -}}
{{- else if and (kindIs "slice" $value) (kindIs "map" (first $value)) -}}
{{- range $entry := $value }}
[[{{ $key }}]]
{{ range $inner := keys $entry | sortAlpha -}}
{{ $inner }} = {{ include "fanfare.tomlValue" (index $entry $inner) }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

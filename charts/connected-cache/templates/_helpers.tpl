{{- define "connected-cache.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "connected-cache.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "connected-cache.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Name of the operator's Deployment, Service, Lease and roles. */ -}}
{{- define "connected-cache.operatorName" -}}
{{- printf "%s-operator" (include "connected-cache.fullname" .) }}
{{- end }}

{{- define "connected-cache.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "connected-cache.operatorName" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Labels that select the operator's pods. */ -}}
{{- define "connected-cache.selectorLabels" -}}
app.kubernetes.io/name: {{ include "connected-cache.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* Labels of every object. */ -}}
{{- define "connected-cache.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "connected-cache.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* An image from registry, repository and either digest or tag: (list image defaultTag). */ -}}
{{- define "connected-cache.image" -}}
{{- $image := index . 0 }}
{{- $name := $image.repository }}
{{- if $image.registry }}
{{- $name = printf "%s/%s" $image.registry $image.repository }}
{{- end }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{- /* One container of `helm test`: name, args, image, pullPolicy, securityContext. */ -}}
{{- define "connected-cache.testContainer" -}}
- name: {{ .name }}
  image: {{ .image | quote }}
  imagePullPolicy: {{ .pullPolicy }}
  args:
  {{- range .args }}
  - {{ . | quote }}
  {{- end }}
  resources:
    requests:
      cpu: 10m
      memory: 32Mi
    limits:
      memory: 128Mi
  securityContext:
    {{- toYaml .securityContext | nindent 4 }}
{{- end }}

{{/* Names and labels. Every name fits into 63 characters with its longest suffix and what KEDA puts before it. */}}

{{- define "meterport.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "meterport.fullname" -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
  {{- $name := include "meterport.name" . -}}
  {{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if gt (len $full) 47 -}}
  {{- /* The digest keeps two long names apart that begin in the same way. */ -}}
  {{- printf "%s-%s" (trunc 38 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- else -}}
  {{- $full -}}
{{- end -}}
{{- end -}}

{{/* Labels of an object. Takes: root, component; labels: its own ones, which precede those of all objects. */}}
{{- define "meterport.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "meterport.selector" . }}
{{- with merge (dict) (.labels | default dict) (.root.Values.commonLabels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that choose the pods of a component. They never change. Takes: root, component; "": all components. */}}
{{- define "meterport.selector" -}}
{{- $name := include "meterport.name" .root }}
{{- /* A Service for all pods of the release must not lead to those that only run a command. */ -}}
app.kubernetes.io/name: {{ ternary (printf "%s-%s" (trunc 55 $name) .component) $name (has .component (list "doctor" "migrate")) | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object. Takes: root, component, name; annotations, labels: its own ones, if it has any. */}}
{{- define "meterport.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "meterport.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "meterport.serviceAccountName" -}}
{{- $default := ternary (include "meterport.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end -}}

{{- define "meterport.image" -}}
{{- $image := .Values.image -}}
{{- $repository := $image.repository | default (ternary "meterport-embedded" "meterport" (eq .Values.mode "embedded")) -}}
{{- $registry := (.Values.global | default dict).imageRegistry | default $image.registry -}}
{{- $path := ternary (printf "%s/%s" $registry $repository) $repository (not (empty $registry)) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $path $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $path ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The name of the Service, Deployment or StatefulSet that answers the API. */}}
{{- define "meterport.frontend" -}}
{{- ternary "embedded" "api" (eq .Values.mode "embedded") -}}
{{- end -}}

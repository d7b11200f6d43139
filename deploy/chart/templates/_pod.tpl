{{/* The pod of a component. Takes: root, component, values (of the component), command (of Meterport), ready (a query). */}}
{{- define "meterport.pod" -}}
{{- $root := .root -}}
metadata:
  annotations:
    # Another configuration needs other processes, because they read it once: hence its checksum.
    {{- merge (dict "checksum/config" (include "meterport.config" $root | sha256sum)) (.values.podAnnotations | default dict) | toYaml | nindent 4 }}
  labels:
    {{- include "meterport.selector" . | nindent 4 }}
    {{- with merge (dict) (.values.podLabels | default dict) ($root.Values.commonLabels | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  terminationGracePeriodSeconds: {{ include "meterport.graceSeconds" $root }}
  {{- include "meterport.podSpec" . | nindent 2 }}
{{- end -}}

{{/* What the pods of components and the pod of `helm test` share. Takes: as above; ready: only for a component. */}}
{{- define "meterport.podSpec" -}}
{{- $root := .root -}}
{{- $secrets := include "meterport.secretsOf" . | fromJson -}}
serviceAccountName: {{ include "meterport.serviceAccountName" $root | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat ((.root.Values.global | default dict).imagePullSecrets | default list) ($root.Values.image.pullSecrets | default list) }}
imagePullSecrets:
  {{- range . }}
  {{- /* Other charts that read the same global value take names. */}}
  - {{ ternary (dict "name" .) . (kindIs "string" .) | toJson }}
  {{- end }}
{{- end }}
containers:
  - name: meterport
    image: {{ include "meterport.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: [{{ .command }}, --config, /etc/meterport/config/config.yaml]
    {{- include "meterport.environment" (dict "root" $root "secrets" $secrets "values" .values "component" .component) | nindent 4 }}
    {{- if .ready }}
    ports:
      {{- if ne .component "ingest" }}
      - {name: http, containerPort: {{ include "meterport.port" $root }}, protocol: TCP}
      {{- end }}
      - {name: telemetry, containerPort: {{ include "meterport.telemetryPort" $root }}, protocol: TCP}
    {{- include "meterport.probes" . | nindent 4 }}
    {{- end }}
    {{- with .values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $root.Values.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      - {name: config, mountPath: /etc/meterport/config, readOnly: true}
      {{- if $secrets }}
      - {name: secrets, mountPath: /etc/meterport/secrets, readOnly: true}
      {{- end }}
      - {name: tmp, mountPath: /tmp}
      {{- if eq $root.Values.mode "embedded" }}
      - {name: data, mountPath: /var/lib/meterport}
      {{- end }}
      {{- with .values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- include "meterport.volumes" (dict "root" $root "secrets" $secrets "values" .values "component" .component) | nindent 2 }}
{{- include "meterport.placement" . | nindent 0 }}
{{- end -}}

{{/* Takes: root, secrets, values, component. */}}
{{- define "meterport.environment" -}}
{{- $given := dict -}}
{{- range .values.extraEnv -}}
  {{- $_ := set $given .name true -}}
{{- end -}}
env:
  {{- if not (hasKey $given "METERPORT_SERVER__HOST") }}
  # The image sets this variable, and a variable precedes the configuration file.
  - {name: METERPORT_SERVER__HOST, value: {{ dig "server" "host" "" .root.Values.config | quote }}}
  {{- end }}
  {{- if .secrets }}
  - {name: METERPORT_SECRETS_DIR, value: /etc/meterport/secrets}
  {{- end }}
  {{- if and (eq .component "doctor") (eq .root.Values.mode "embedded") }}
  # Every user may write into an emptyDir, which would be a fault of the directory: hence one within it.
  - {name: METERPORT_DATA_DIR, value: /var/lib/meterport/doctor}
  {{- end }}
  {{- range $setting := keys .secrets | sortAlpha }}
  {{- if hasSuffix "_location" $setting }}
  - {name: {{ include "meterport.variable" $setting }}, value: /etc/meterport/secrets/{{ $setting }}}
  {{- end }}
  {{- end }}
  {{- with .values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Readiness says whether traffic may come, and liveness only whether the process answers: no restart brings a store back. */}}
{{- define "meterport.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: telemetry}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: telemetry}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: {{ .ready | quote }}, port: telemetry}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/* Takes: root, secrets, values, component. */}}
{{- define "meterport.volumes" -}}
{{- $full := include "meterport.fullname" .root -}}
- name: config
  configMap: {name: {{ $full | quote }}}
{{- if .secrets }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $setting := keys .secrets | sortAlpha }}
      {{- $source := get $.secrets $setting }}
      - secret:
          name: {{ $source.name | quote }}
          items:
            - key: {{ $source.key | quote }}
              path: {{ ternary $setting (include "meterport.variable" $setting) (hasSuffix "_location" $setting) }}
      {{- end }}
{{- end }}
- name: tmp
  emptyDir: {{ .root.Values.tmp.sizeLimit | empty | ternary (dict) (pick .root.Values.tmp "sizeLimit") | toJson }}
{{- if and (eq .component "embedded") .root.Values.embedded.persistence.existingClaim }}
- name: data
  persistentVolumeClaim: {claimName: {{ .root.Values.embedded.persistence.existingClaim | quote }}}
{{- else if and (eq .component "doctor") (eq .root.Values.mode "embedded") }}
# Not the volume itself: a second pod in it could change the labels of SELinux under the first one.
- name: data
  emptyDir: {}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where the pods run. Takes: root, component, values. */}}
{{- define "meterport.placement" -}}
{{- $values := .values -}}
{{- range $field := list "affinity" "nodeSelector" "priorityClassName" "tolerations" -}}
{{- with get $values $field }}
{{ dict $field . | toYaml }}
{{- end }}
{{- end }}
{{- if $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
{{- else if and (kindIs "invalid" $values.topologySpreadConstraints) (has .component (list "api" "ingest")) }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "meterport.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

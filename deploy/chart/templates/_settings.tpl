{{/* What follows from the settings. The defaults here are the program's own; a test compares them. */}}

{{/* The configuration file. */}}
{{- define "meterport.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if eq .Values.mode "embedded" -}}
  {{- $_ := set $config "data_dir" "/var/lib/meterport" -}}
{{- end -}}
{{- if eq .Values.migrations.run "job" -}}
  {{- $_ := set $config "store" (merge (dict "migrate" "wait") ($config.store | default dict)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "meterport.port" -}}
{{- dig "server" "port" 8888 .Values.config | int -}}
{{- end -}}

{{- define "meterport.telemetryPort" -}}
{{- dig "server" "telemetry_port" 0 .Values.config | int -}}
{{- end -}}

{{- define "meterport.partitions" -}}
{{- dig "kafka" "partitions" 12 .Values.config | int -}}
{{- end -}}

{{- define "meterport.batchRows" -}}
{{- dig "ingest" "batch_rows" 100000 .Values.config | int -}}
{{- end -}}

{{/* "true" if events go to Kafka, otherwise nothing. */}}
{{- define "meterport.usesKafka" -}}
{{- if or (dig "kafka" "brokers" "" .Values.config) (hasKey .Values.secrets "kafka.brokers") -}}
true
{{- end -}}
{{- end -}}

{{/* The seconds that the end of a process may take after SIGTERM, as `meterport config show` prints them. */}}
{{- define "meterport.graceSeconds" -}}
{{- $shutdown := dig "server" "shutdown_seconds" 20 .Values.config -}}
{{- $log := $shutdown -}}
{{- if include "meterport.usesKafka" . -}}
  {{- $log = addf 10 (dig "kafka" "produce_seconds" 15 .Values.config) -}}
{{- end -}}
{{- $spans := ternary 3 0 (or (dig "tracing" false .Values.config) (hasKey .Values.secrets "tracing")) -}}
{{- addf (dig "server" "drain_seconds" 0 .Values.config) $shutdown 30 $log $spans | ceil | int64 -}}
{{- end -}}

{{/* The variable of a setting. */}}
{{- define "meterport.variable" -}}
METERPORT_{{ upper . | replace "." "__" }}
{{- end -}}

{{/* The settings from Secrets that a component gets, as JSON: `ingest` answers nobody, and `migrate` knows only the store. */}}
{{- define "meterport.secretsOf" -}}
{{- $secrets := deepCopy .root.Values.secrets -}}
{{- if eq .component "ingest" -}}
  {{- $secrets = omit $secrets "api_key" "api_key_sha256" "api_keys" -}}
{{- else if eq .component "migrate" -}}
  {{- range $setting := keys $secrets -}}
    {{- if not (hasPrefix "store." $setting) -}}
      {{- $secrets = omit $secrets $setting -}}
    {{- end -}}
  {{- end -}}
  {{- $secrets = merge (dict) (.root.Values.migrations.secrets | default dict) $secrets -}}
{{- end -}}
{{- $secrets | toJson -}}
{{- end -}}

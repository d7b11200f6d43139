{{/* Values that cannot work, a line each: what is wrong and what to do. values.schema.json has refused wrong types and names. */}}

{{- define "meterport.faults" -}}
{{- include "meterport.faultsOfSecrets" . }}
{{- include "meterport.faultsOfConnections" . }}
{{- include "meterport.faultsOfEncryption" . }}
{{- include "meterport.faultsOfMigrations" . }}
{{- include "meterport.faultsOfPorts" . }}
{{- if eq .Values.mode "distributed" }}
{{- include "meterport.faultsOfScaling" . }}
{{- end }}
{{- include "meterport.faultsOfExtras" . }}
{{- include "meterport.faultsOfNames" . }}
{{- include "meterport.faultsOfObjects" . }}
{{- end -}}

{{/* The settings that are secrets; a test compares them with the program's. */}}
{{- define "meterport.secretSettings" -}}
api_key kafka.sasl_password kafka.ssl_key_password portal.token_keys store.password
{{- end -}}

{{/* The setting of a dotted name in config as JSON, or nothing. Takes: config, name. */}}
{{- define "meterport.setting" -}}
{{- $value := .config -}}
{{- range splitList "." .name -}}
  {{- $value = ternary (get ($value | default dict) .) "" (kindIs "map" $value) -}}
{{- end -}}
{{- if not (empty $value) -}}
{{- toJson $value -}}
{{- end -}}
{{- end -}}

{{- define "meterport.faultsOfSecrets" -}}
{{- $config := .Values.config -}}
{{- range $name := splitList " " (include "meterport.secretSettings" .) }}
{{- if include "meterport.setting" (dict "config" $config "name" $name) }}
- config.{{ $name }} is a secret, and a ConfigMap would show it: put it into a Secret and write secrets: {"{{ $name }}": {name: THE-SECRET, key: ITS-KEY}}
{{- end }}
{{- end }}
{{- range $index, $entry := $config.api_keys | default list }}
{{- if $entry.key }}
- config.api_keys[{{ $index }}].key is a secret, and a ConfigMap would show it: write its SHA-256 in key_sha256 instead, or put the list as JSON into a Secret and write secrets: {"api_keys": {name: THE-SECRET, key: ITS-KEY}}
{{- else if not $entry.key_sha256 }}
- config.api_keys[{{ $index }}] has no key: write the SHA-256 of one in key_sha256, or put the list as JSON into a Secret and write secrets: {"api_keys": {name: THE-SECRET, key: ITS-KEY}}
{{- end }}
{{- end }}
{{- range $name := list "kafka.ssl_key_location" "store.key_location" }}
{{- if contains "PRIVATE KEY" (include "meterport.setting" (dict "config" $config "name" $name)) }}
- config.{{ $name }} is the path of a file, but contains a key, which a ConfigMap would show: put it into a Secret and write secrets: {"{{ $name }}": {name: THE-SECRET, key: ITS-KEY}}
{{- end }}
{{- end }}
{{- if contains "@" (dig "store" "url" "" $config | default "") }}
- config.store.url contains a user or a password, and a ConfigMap would show it: write the user in config.store.username, put the password into a Secret and write secrets: {"store.password": {name: THE-SECRET, key: ITS-KEY}}
{{- end }}
{{- range $option := dig "kafka" "options" dict $config | keys | sortAlpha }}
{{- if regexMatch "(?i)pass|secret|key|token|jaas|assertion|pem" $option }}
- config.kafka.options.{{ $option }} may be a secret, and a ConfigMap would show it: put {"{{ $option }}": "…"} as JSON into a Secret and write secrets: {"kafka.options": {name: THE-SECRET, key: ITS-KEY}}
{{- end }}
{{- end }}
{{- range $name := keys .Values.secrets | sortAlpha }}
{{- if and (ne $name "kafka.options") (include "meterport.setting" (dict "config" $config "name" $name)) }}
- {{ $name }} is both in config and in secrets: remove one of them
{{- end }}
{{- end }}
{{- end -}}

{{/* What is added to pods must not be there already: an API server refuses such pods, or takes one of the two. */}}
{{- define "meterport.faultsOfExtras" -}}
{{- $own := list "METERPORT_SECRETS_DIR" -}}
{{- range $setting := keys .Values.secrets }}
{{- $own = ternary (append $own (include "meterport.variable" $setting)) $own (hasSuffix "_location" $setting) }}
{{- end }}
{{- range $component := list "api" "ingest" "embedded" }}
{{- $values := get $.Values $component }}
{{- $seen := $own }}
{{- range $values.extraEnv }}
{{- if has .name $seen }}
- {{ $component }}.extraEnv: {{ .name }} is there twice, or set by the chart itself: remove it
{{- /* What only the pod knows, such as its node's zone, cannot be in config. */}}
{{- else if and (hasPrefix "METERPORT_" .name) (not (dig "valueFrom" "fieldRef" false .)) (not (contains "$(" (.value | default "" | toString))) }}
- {{ $component }}.extraEnv: {{ .name }} is a setting: write it in config, or in secrets if it comes from a Secret
{{- end }}
{{- $seen = append $seen .name }}
{{- end }}
{{- range $values.extraVolumes }}
{{- if has .name (list "config" "secrets" "tmp" "data") }}
- {{ $component }}.extraVolumes: {{ .name }} is a volume of the chart itself: choose another name
{{- end }}
{{- end }}
{{- range $values.extraVolumeMounts }}
{{- if has (.mountPath | default "" | clean) (list "/etc/meterport/config" "/etc/meterport/secrets" "/tmp" "/var/lib/meterport") }}
- {{ $component }}.extraVolumeMounts: the chart itself mounts {{ .mountPath }}: choose another path
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "meterport.faultsOfConnections" -}}
{{- $config := .Values.config -}}
{{- $secrets := .Values.secrets -}}
{{- $url := or (hasKey $secrets "store.url") (dig "store" "url" "" $config) -}}
{{- if and (dig "api_key_sha256" "" $config) (hasKey $secrets "api_key") }}
- secrets.api_key and config.api_key_sha256 are both set: remove one of them
{{- end }}
{{- if not (or (hasKey $secrets "api_key") (hasKey $secrets "api_key_sha256") (hasKey $secrets "api_keys") $config.api_key_sha256 $config.api_keys) }}
- the API needs a key: put one into a Secret and write secrets: {"api_key": {name: THE-SECRET, key: ITS-KEY}}, or a list of keys with names and scopes into api_keys
{{- end }}
{{- if eq .Values.mode "distributed" }}
{{- if not $url }}
- config.store.url: mode distributed needs a ClickHouse server, for example https://clickhouse:8443; without one, set mode: embedded
{{- end }}
{{- with dig "store" "url" "" $config }}
{{- if not (regexMatch "^https?://[^/?#]+/?$" .) }}
- config.store.url is not of the form http(s)://host:port, for example https://clickhouse:8443; the database is in store.database
{{- end }}
{{- end }}
{{- if not (include "meterport.usesKafka" .) }}
- config.kafka.brokers: mode distributed needs Kafka, for example kafka-bootstrap:9092; without it, set mode: embedded
{{- end }}
{{- if not (hasKey $secrets "portal.token_keys") }}
- all pods must verify the same tokens: put a JSON list of signing keys into a Secret and write secrets: {"portal.token_keys": {name: THE-SECRET, key: ITS-KEY}}
{{- end }}
{{- else }}
{{- range $name := list "url" "username" "password" "ca_location" "certificate_location" "key_location" }}
{{- $name = printf "store.%s" $name }}
{{- if or (hasKey $secrets $name) (include "meterport.setting" (dict "config" $config "name" $name)) }}
- {{ $name }} is set, but mode embedded has a store of its own: set mode: distributed, or remove it
{{- end }}
{{- end }}
{{- if dig "data_dir" "" $config }}
- config.data_dir is set, but the chart sets it to the place of the volume: remove it
{{- end }}
{{- end }}
{{- end -}}

{{/* The program refuses these too, but its pods would first replace others. What decides may be in a Secret. */}}
{{- define "meterport.faultsOfEncryption" -}}
{{- $config := .Values.config -}}
{{- $secrets := .Values.secrets -}}
{{- $protocol := dig "kafka" "security_protocol" "PLAINTEXT" $config -}}
{{- if not (or (hasKey $secrets "kafka.security_protocol") (hasKey $secrets "kafka.options") (dig "kafka" "options" "security.protocol" "" $config)) }}
{{- range $name := list "ssl_ca_location" "ssl_certificate_location" "ssl_key_location" "ssl_key_password" "sasl_username" "sasl_password" }}
{{- $needed := ternary (list "SASL_SSL" "SASL_PLAINTEXT") (list "SSL" "SASL_SSL") (hasPrefix "sasl" $name) }}
{{- $name = printf "kafka.%s" $name }}
{{- if and (not (has $protocol $needed)) (or (hasKey $secrets $name) (include "meterport.setting" (dict "config" $config "name" $name))) }}
- {{ $name }} is set, but kafka.security_protocol is {{ $protocol }}: set it to {{ join " or " $needed }}, or remove {{ $name }}
{{- end }}
{{- end }}
{{- end }}
{{- if hasPrefix "http://" (dig "store" "url" "" $config | default "") }}
{{- range $name := list "store.ca_location" "store.certificate_location" "store.key_location" }}
{{- if or (hasKey $secrets $name) (include "meterport.setting" (dict "config" $config "name" $name)) }}
- {{ $name }} is set, but config.store.url begins with http://: write https://, or remove {{ $name }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "meterport.faultsOfMigrations" -}}
{{- if eq .Values.migrations.run "job" }}
{{- if ne .Values.mode "distributed" }}
- migrations.run: a Job cannot use the volume of mode embedded beside its pod: set migrations.run to start
{{- end }}
{{- if eq (dig "store" "migrate" "wait" .Values.config) "start" }}
- config.store.migrate is start, but migrations.run is job: remove config.store.migrate
{{- end }}
{{- end }}
{{- range $name := keys (.Values.migrations.secrets | default dict) | sortAlpha }}
{{- if eq $.Values.migrations.run "start" }}
- migrations.secrets.{{ $name }} is used by no one, because migrations.run is start: remove it, or set migrations.run to job
{{- end }}
{{- end }}
{{- end -}}

{{- define "meterport.faultsOfPorts" -}}
{{- $server := .Values.config.server | default dict -}}
{{- range $setting := list "host" "telemetry_host" }}
{{- if regexMatch `(?i)^(localhost|127\.[0-9.]+|[0:]*:0*1)?$` (get $server $setting | default "") }}
- config.server.{{ $setting }} is loopback, which nothing outside the pod can reach: set it to 0.0.0.0, or to "::" for IPv6
{{- end }}
{{- end }}
{{- $port := include "meterport.port" . | int -}}
{{- $telemetry := include "meterport.telemetryPort" . | int -}}
{{- if eq $port 0 }}
- config.server.port is 0: the Service needs a fixed port, for example 8888
{{- end }}
{{- if eq $telemetry 0 }}
- config.server.telemetry_port: the probes need this port, for example 8889
{{- end }}
{{- if and $port (eq $port $telemetry) }}
- config.server.telemetry_port is the same as config.server.port: choose another one
{{- end }}
{{- end -}}

{{- define "meterport.faultsOfScaling" -}}
{{- $partitions := include "meterport.partitions" . | int -}}
{{- range $component := list "api" "ingest" }}
{{- $values := get $.Values $component }}
{{- if $values.autoscaling.enabled }}
{{- include "meterport.faultsOfBounds" (dict "name" (printf "%s.autoscaling" $component) "values" $values.autoscaling) }}
{{- if not (or $values.autoscaling.targetCPUUtilizationPercentage $values.autoscaling.targetMemoryUtilizationPercentage $values.autoscaling.metrics) }}
- {{ $component }}.autoscaling has no metric: set targetCPUUtilizationPercentage
{{- end }}
{{- range $resource, $target := dict "cpu" "targetCPUUtilizationPercentage" "memory" "targetMemoryUtilizationPercentage" }}
{{- if and (get $values.autoscaling $target) (not (dig "requests" $resource "" ($values.resources | default dict))) }}
- {{ $component }}.autoscaling.{{ $target }} is a share of what is requested: set {{ $component }}.resources.requests.{{ $resource }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $ingest := .Values.ingest }}
{{- if and $ingest.autoscaling.enabled $ingest.keda.enabled }}
- ingest.autoscaling and ingest.keda would both scale the same pods: enable one of them
{{- end }}
{{- $most := dict "ingest.replicas" $ingest.replicas }}
{{- if $ingest.autoscaling.enabled }}
{{- $most = dict "ingest.autoscaling.maxReplicas" $ingest.autoscaling.maxReplicas }}
{{- end }}
{{- if $ingest.keda.enabled }}
{{- $most = dict "ingest.keda.maxReplicas" $ingest.keda.maxReplicas }}
{{- include "meterport.faultsOfBounds" (dict "name" "ingest.keda" "values" $ingest.keda) }}
{{- include "meterport.faultsOfKeda" . }}
{{- end }}
{{- range $name, $number := $most }}
{{- if gt (int $number) $partitions }}
- {{ $name }} is {{ int $number }}, but the topic has {{ $partitions }} partitions and each is read by one pod: set at most {{ $partitions }}, or config.kafka.partitions to what the topic has
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes: name, values. */}}
{{- define "meterport.faultsOfBounds" -}}
{{- if lt (int .values.minReplicas) 1 }}
- {{ .name }}.minReplicas is {{ int .values.minReplicas }}: at least 1 pod must work, set 1 or more
{{- end }}
{{- if lt (int .values.maxReplicas) (int .values.minReplicas) }}
- {{ .name }}.maxReplicas is {{ int .values.maxReplicas }} and smaller than minReplicas: set {{ int .values.minReplicas }} or more
{{- end }}
{{- end -}}

{{- define "meterport.faultsOfKeda" -}}
{{- $keda := .Values.ingest.keda -}}
{{- $kafka := .Values.config.kafka | default dict -}}
{{- $least := include "meterport.batchRows" . | int | mul 2 -}}
{{- $lag := ($keda.metadata | default dict).lagThreshold | default $keda.lagThreshold -}}
{{- if and $lag (lt (int64 $lag) (int64 $least)) }}
- ingest.keda.lagThreshold is {{ int64 $lag }}: committed offsets are those of the beginning of the block under way, so set at least twice ingest.batch_rows, {{ $least }}, or remove it
{{- end }}
{{- if not (or $keda.bootstrapServers $kafka.brokers) }}
- ingest.keda.bootstrapServers: KEDA cannot read kafka.brokers from a Secret; write the brokers here
{{- end }}
{{- range $name := list "kafka.topic" "kafka.group" }}
{{- $key := get (dict "kafka.topic" "topic" "kafka.group" "consumerGroup") $name }}
{{- if and (hasKey $.Values.secrets $name) (not (get ($keda.metadata | default dict) $key)) }}
- ingest.keda.metadata.{{ $key }}: KEDA cannot read {{ $name }} from a Secret; write it here
{{- end }}
{{- end }}
{{- if and (hasPrefix "SASL" ($kafka.security_protocol | default "")) (not $keda.authenticationRef) }}
- ingest.keda.authenticationRef: the brokers require SASL; name a TriggerAuthentication that has the user and the password
{{- end }}
{{- end -}}

{{- define "meterport.faultsOfNames" -}}
{{- $full := include "meterport.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) }}
- the objects would be named {{ $full }}, but the name of a Service begins with a letter, and has only a-z, 0-9 and "-": set fullnameOverride
{{- end }}
{{- $image := include "meterport.image" . }}
{{- if not (regexMatch `^([A-Za-z0-9][-A-Za-z0-9_.]*|\[[0-9a-f:]+\])(:[0-9]+)?(/[a-z0-9][-a-z0-9_.]*)*(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[0-9a-f]{64})?$` $image) }}
- image: {{ $image }} cannot be the name of an image: image.registry is a host, with a port and a path if it has them, image.repository is a path, and image.tag is a tag
{{- end }}
{{- end -}}

{{- define "meterport.faultsOfObjects" -}}
{{- $own := list "helm.sh/chart" "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" -}}
{{- range $where := list "commonLabels" "monitoring.labels" "monitoring.dashboard.labels" "api.podLabels" "ingest.podLabels" "embedded.podLabels" "helmTest.podLabels" }}
{{- range $label := keys (include "meterport.setting" (dict "config" $.Values "name" $where) | default "{}" | fromJson) | sortAlpha }}
{{- if has $label $own }}
- {{ $where }} has {{ $label }}, which the chart sets itself and chooses pods by: remove it
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled }}
- monitoring.podMonitor and monitoring.serviceMonitor would both scrape the same pods: enable one of them
{{- end }}
{{- if and .Values.monitoring.rules.enabled (not (regexMatch "^((30|[12][0-9]|[1-9])s|[1-9][0-9]{0,3}ms)$" (.Values.monitoring.interval | default ""))) }}
- monitoring.interval is {{ .Values.monitoring.interval | default "not set" }}, but the alert rules compare what is scraped every 30s or more often: set at most 30s, or disable monitoring.rules
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
- ingress.hosts is empty: name at least one host
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
- httpRoute.parentRefs is empty: name the Gateway
{{- end }}
{{- if and (not .Values.serviceAccount.create) .Values.serviceAccount.annotations }}
- serviceAccount.annotations are for a new account: set serviceAccount.create, or annotate the account that exists
{{- end }}
{{- $service := .Values.service }}
{{- $outside := list "NodePort" "LoadBalancer" }}
{{- range $name, $types := dict "nodePort" $outside "externalTrafficPolicy" $outside "loadBalancerClass" (list "LoadBalancer") }}
{{- if and (get $service $name) (not (has $service.type $types)) }}
- service.{{ $name }} is set, but service.type is {{ $service.type }}: set {{ join " or " $types }}, or remove it
{{- end }}
{{- end }}
{{- if eq .Values.mode "embedded" }}
{{- range $what := list "api.autoscaling" "ingest.autoscaling" "ingest.keda" }}
{{- $parts := splitList "." $what }}
{{- if (get (get $.Values (first $parts)) (last $parts)).enabled }}
- {{ $what }} is enabled, but mode embedded has exactly one pod: set mode: distributed, or disable it
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

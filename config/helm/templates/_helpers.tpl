{{- define "ldap-usher.selector" -}}
app.kubernetes.io/name: ldap-usher
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ldap-usher.labels" -}}
{{ include "ldap-usher.selector" . }}
app.kubernetes.io/version: {{ quote .Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

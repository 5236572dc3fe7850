{{- define "specd.labels" -}}
app.kubernetes.io/name: specd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

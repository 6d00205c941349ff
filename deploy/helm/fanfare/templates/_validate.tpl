{{/* What a schema cannot say: values that must fit each other. Each refusal says what would do. */}}
{{- define "fanfare.validate" -}}
{{- $v := .Values -}}

{{- $least := add $v.drain.preStopSeconds $v.drain.windowSeconds 20 | int -}}
{{- if lt (int $v.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "terminationGracePeriodSeconds is %d; it must be at least %d: drain.preStopSeconds (%d) + drain.windowSeconds (%d) + 20" (int $v.terminationGracePeriodSeconds) $least (int $v.drain.preStopSeconds) (int $v.drain.windowSeconds)) -}}
{{- end -}}

{{- if and $v.redis.url $v.redis.existingSecret -}}
{{- fail "redis.url and redis.existingSecret are both set; give one" -}}
{{- end -}}
{{- if and $v.redis.url $v.redis.caSecret (not (regexMatch "^(rediss|valkeys)://" $v.redis.url)) -}}
{{- fail "redis.caSecret is for TLS, and redis.url does not start with rediss://" -}}
{{- end -}}
{{- if and $v.redis.sentinels $v.redis.cluster -}}
{{- fail "redis.sentinels and redis.cluster are both set; a cluster replaces its masters by itself: leave one out" -}}
{{- end -}}
{{- if and (or $v.redis.sentinels $v.redis.cluster) (not (include "fanfare.redis" .)) -}}
{{- fail "redis.sentinels and redis.cluster say how to understand the address: set redis.url or redis.existingSecret" -}}
{{- end -}}
{{- if not (include "fanfare.redis" .) -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.maxReplicas) 1) -}}
{{- fail "autoscaling needs Redis, or nodes would not hear each other: set redis.url or redis.existingSecret" -}}
{{- end -}}
{{- if and (not $v.autoscaling.enabled) (gt (int $v.replicas) 1) -}}
{{- fail (printf "replicas is %d, and more than one needs Redis, or nodes would not hear each other: set redis.url or redis.existingSecret" (int $v.replicas)) -}}
{{- end -}}
{{- end -}}

{{- if $v.autoscaling.enabled -}}
{{- if lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas) -}}
{{- fail (printf "autoscaling.maxReplicas (%d) is less than autoscaling.minReplicas (%d)" (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- end -}}
{{- if not (or $v.autoscaling.cpuUtilization $v.autoscaling.connectionsPerPod $v.autoscaling.deliveriesPerPod) -}}
{{- fail "autoscaling has nothing to go by: set autoscaling.cpuUtilization, connectionsPerPod or deliveriesPerPod" -}}
{{- end -}}
{{- if and $v.autoscaling.cpuUtilization (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- fail "autoscaling.cpuUtilization is in percent of resources.requests.cpu, which is not set" -}}
{{- end -}}
{{- $connections := dig "limits" "connections" 100000 $v.config | int -}}
{{- if and $v.autoscaling.connectionsPerPod (ge (int $v.autoscaling.connectionsPerPod) $connections) -}}
{{- fail (printf "autoscaling.connectionsPerPod (%d) must be below config.limits.connections (%d), or pods refuse connections before more pods come" (int $v.autoscaling.connectionsPerPod) $connections) -}}
{{- end -}}
{{- end -}}

{{- if and (eq (toString $v.strategy.maxSurge) "0") (eq (toString $v.strategy.maxUnavailable) "0") -}}
{{- fail "strategy.maxSurge and strategy.maxUnavailable are both 0; no rollout could begin" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: which Gateway is it for?" -}}
{{- end -}}
{{- if and $v.envoyBackendTrafficPolicy.enabled (not $v.httpRoute.enabled) -}}
{{- fail "envoyBackendTrafficPolicy.enabled needs httpRoute.enabled: it is a policy for that route" -}}
{{- end -}}
{{- if and $v.service.externalTrafficPolicy (eq $v.service.type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy is for NodePort and LoadBalancer; service.type is ClusterIP" -}}
{{- end -}}
{{- end -}}

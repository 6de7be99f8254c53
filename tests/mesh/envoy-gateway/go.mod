module cohort.test/mesh/envoy-gateway

go 1.26

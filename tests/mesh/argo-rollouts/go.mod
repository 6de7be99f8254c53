module cohort.test/mesh/argo-rollouts

go 1.26

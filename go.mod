module github.com/steervec/steer

go 1.26

// What h2spec is built from: `./x` runs `go build` here. The tool has no go.mod of its own, so without this list each build
// would take the newest golang.org/x/net of its day. x/net is of the tool's own time; x/sys and x/text are the oldest that
// build with today's Go.
module laneway/tests/h2spec

go 1.19

require (
	github.com/fatih/color v1.7.0
	github.com/inconshreveable/mousetrap v1.0.0
	github.com/mattn/go-colorable v0.1.1
	github.com/mattn/go-isatty v0.0.7
	github.com/spf13/cobra v0.0.3
	github.com/spf13/pflag v1.0.3
	github.com/summerwind/h2spec v2.2.1+incompatible
	golang.org/x/net v0.0.0-20190311183353-d8887717615a
	golang.org/x/sys v0.1.0
	golang.org/x/text v0.3.8
)

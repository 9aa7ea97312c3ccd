# vitro in short words; the build itself is Meson's (meson.build), the presets are the folders build/PRESET.
#
#   make            the program: build/release/vitro
#   make demo       packages, build, train on real images, evaluate, predict
#   make test       the tests, with sanitizers where cheap
#   make test-all   the same, and the other compiler, TSan, guarded memory, aarch64, whatever is slow
#   make bench      speed beside PyTorch, torchvision and webdataset
#   make install    PREFIX=/usr/local

PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)
SETUP   = tools/setup-preset

.PHONY: all demo test test-all bench install format clean

all:
	@$(SETUP) release
	@ninja -C build/release -j$(JOBS) --quiet src/cli/vitro
	@ln -sf release/src/cli/vitro build/vitro
	@echo "built build/vitro ($$(build/vitro --version | head -1))"

demo:
	@tools/demo

test:
	@tools/run-tests quick

test-all:
	@tools/run-tests all

bench:
	@$(SETUP) release
	@ninja -C build/release -j$(JOBS) --quiet
	@bench/run
	@bench/loader

install: all
	meson configure build/release --prefix=$(PREFIX)
	meson install -C build/release

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build

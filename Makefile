# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` set up what they need (a .venv with the pinned packages) and then
# run; the second time they start at once.

PYTHON ?= python3
EPISODES ?= 20
LIBERO_PYTHON ?= $(PYTHON)
MODEL ?=
VENV := .venv
DOCS := .venv-docs
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test train libero docs pages lint lock dist clean system

help:
	@echo "make demo            simulated robot + policy node, camera to command, with a report"
	@echo "make demo EPISODES=3 the same, shorter"
	@echo "make test            all tests"
	@echo ".venv/bin/python -m vla_infoentropy_ros doctor   what is in use, and what is wrong with it"
	@echo "make train           the embedded policy from scratch (about an hour on 2 cores)"
	@echo "make libero MODEL=.. LIBERO's simulator in an environment of its own, and a short run"
	@echo "make docs            the documentation site, in docs/_build/index.html"
	@echo "make pages           renew what the documentation takes from the code and docs/results"
	@echo "make lint            ruff and mypy"
	@echo "make lock            renew requirements.lock and requirements-docs.lock from setup.py"
	@echo "make dist            source distribution and wheel, in dist"
	@echo "make clean           remove .venv and outputs"

demo: $(READY) system
	$(RUN) -m vla_infoentropy_ros demo --episodes $(EPISODES)

# What is installed is tested, as by `colcon test`: the source tree beside it is not on the path.
# What runs on a graph or by the clock keeps to one of the two processes (test/conftest.py).
test: $(READY) system
	@$(RUN) -m vla_infoentropy_ros.ros_setup > $(VENV)/build/setup.log
	PYTHONSAFEPATH=1 TESTED_TREE=installed $(RUN) -m pytest test -n 2 --dist loadgroup

train: $(READY) system
	$(RUN) -m vla_infoentropy_ros.training

libero: $(READY)
	@PACKAGE_PYTHON=$(RUN) sh scripts/libero.sh "$(LIBERO_PYTHON)" .venv-libero "$(MODEL)"

# The site has an environment of its own: it reads docstrings and needs nothing that computes.
docs: $(DOCS)/.ready
	$(DOCS)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "docs/_build/index.html"

$(DOCS)/.ready: requirements-docs.lock
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install -q --disable-pip-version-check -r requirements-docs.lock
	@touch $@

pages: $(READY)
	PYTHONPATH=. $(RUN) scripts/pages

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy vla_infoentropy_ros

# Remade when the pins or the package's own metadata change; messages are compiled again only when
# they or the build files change, and what was interrupted goes on from where it was.
$(READY): requirements.lock requirements-ros.lock setup.py scripts/setup_venv.sh package.xml \
		CMakeLists.txt $(wildcard msg/*.msg action/*.action scripts/*_msgs/*/*)
	@PYTHON="$(PYTHON)" sh scripts/setup_venv.sh $(VENV)
	@touch $@

system: $(READY)
	@sh scripts/check_system.sh $(RUN)

lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install -q torch==2.13.0 setuptools ".[bags,distributed,lerobot,ros,sim,serve,dev]"
	$(VENV)-lock/bin/python -m pip freeze --all --exclude pip --exclude vla_infoentropy_ros | sed "s/+cpu//" > requirements.lock
	rm -rf $(VENV)-lock $(DOCS)-lock && $(PYTHON) -m venv $(DOCS)-lock
	# Later ones refuse Debian 12's Python, 3.11.2.
	$(DOCS)-lock/bin/python -m pip install -q numpy furo myst-parser sphinx sphinx-copybutton "soupsieve<4"
	$(DOCS)-lock/bin/python -m pip freeze --exclude pip > requirements-docs.lock
	rm -rf $(DOCS)-lock

dist: $(READY)
	$(RUN) -c "import setuptools.build_meta as build; build.build_sdist('dist'); build.build_wheel('dist')"

clean:
	rm -rf $(VENV) $(DOCS) .venv-libero out docs/_build build install log *.egg-info

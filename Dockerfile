FROM python:3.12-slim-bookworm

RUN useradd --create-home sidecar && install -d -o sidecar /home/sidecar/.cache
WORKDIR /build

# The large wheels first: they change with the constraints alone.
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt torch torchvision

COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY sidecar sidecar/
COPY migrations migrations/
COPY sql sql/
RUN pip install --no-cache-dir -c constraints.txt .

USER sidecar
WORKDIR /home/sidecar
ENTRYPOINT ["sidecar"]
CMD ["run"]

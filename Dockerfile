# medapp in a container, without root: docker build -t medapp . && docker run --rm -p 7860:7860 medapp
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 medapp
WORKDIR /home/medapp/app
RUN chown medapp /home/medapp/app
USER medapp

# Torch for the CPU; for a graphics card leave the index out and run with --gpus all.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --chown=medapp requirements.txt .
RUN python -m venv /home/medapp/venv \
    && /home/medapp/venv/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r requirements.txt
COPY --chown=medapp app.py ./
COPY --chown=medapp medapp medapp
COPY --chown=medapp weights weights
COPY --chown=medapp examples examples
RUN /home/medapp/venv/bin/python -m medapp.ui.viewer.niivue_asset || true

# It answers to localhost and to addresses of numbers; to a name with: docker run -e MEDAPP_HOSTS=scans.example.org
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["/home/medapp/venv/bin/python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=5)"]
CMD ["/home/medapp/venv/bin/python", "app.py"]

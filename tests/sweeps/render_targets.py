"""The least options of every target of `render`, and resources with GPUs."""

OPTIONS = {
    "kuberay": ("--image", "r.io/p:1", "--shared", "/shared"),
    "slurm": ("--shared", "/shared"),
    "ray-up": ("--host", "10.0.0.1", "--host", "10.0.0.2", "--user", "ubuntu", "--shared", "/shared"),
    "docker": (),
}
GPU = {"resources": {"workers": 2, "cpu": 3, "gpu": 1}}  # two workers, and a driver beside them

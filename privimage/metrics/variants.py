"""What several families have variants of, by name: known without what builds them, which imports torch."""

NETWORKS = ("efficientnet-lite0", "inception")  # see `features`
CLASSIFIERS = ("lr", "mlp", "cnn")  # ours; see `classifiers`
PAPER = ("paper-lr", "paper-mlp", "paper-cnn")  # with the settings of PrivImage; see `paper_classifiers`

"""
Classify spoken vowels
======================

Nine speakers say the vowels /ae/. Each utterance is a series of 12 features, 7 to 29 steps long (Kudo, Toyama and Shimbo 1999).
`RNNClassifier` takes the list of series of unequal lengths as it is, and reads the class from the last state.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbptt

X_train, y_train = fastbptt.datasets.load_japanese_vowels("train")
X_test, y_test = fastbptt.datasets.load_japanese_vowels("test")
print(len(X_train), "utterances of", min(map(len, X_train)), "to", max(map(len, X_train)), "steps")

model = fastbptt.RNNClassifier(100, activation="relu", initializer=("identity", 0.5), l2=3e-3, learning_rate_init=2e-3,
                               max_iter=60, batch_size=32, random_state=0).fit(X_train, y_train)
print(f"{model.score(X_test, y_test):.1%} of {len(y_test)} test utterances are classified correctly")

# %%
# The left picture shows the training, the right one which speakers are taken for which.

predicted = model.predict(X_test)
table = np.zeros((9, 9), int)
np.add.at(table, (np.searchsorted(model.classes_, y_test), np.searchsorted(model.classes_, predicted)), 1)

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
model.history_.plot(axes[0])
axes[1].imshow(table, cmap="Blues")
for row, column in np.argwhere(table):
    axes[1].text(column, row, table[row, column], ha="center", va="center",
                 color="white" if table[row, column] > table.max() / 2 else "black")
axes[1].set(xlabel="predicted speaker", ylabel="speaker", xticks=range(9), yticks=range(9),
            xticklabels=model.classes_, yticklabels=model.classes_)
plt.show()

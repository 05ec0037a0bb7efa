import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.RandomState(0)
texts = [rng.randint(1, 40, rng.randint(3, 12)).tolist() for _ in range(120)]
labels = rng.randint(0, 2, 120)
features = np.zeros((len(texts), 12), dtype=int)
for i, row in enumerate(texts):
    features[i, : len(row)] = np.array(row)[:12]
train_data = TensorDataset(torch.from_numpy(features), torch.from_numpy(labels))
train_loader = DataLoader(train_data, shuffle=True, batch_size=20)


class SentimentRNN(nn.Module):
    def __init__(self, vocab_size, embedding_dim, hidden_dim, n_layers=1):
        super().__init__()
        self.n_layers, self.hidden_dim = n_layers, hidden_dim
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, n_layers, batch_first=True)
        self.fc = nn.Linear(hidden_dim, 1)
        self.sig = nn.Sigmoid()
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        for n, p in self.lstm.named_parameters():
            if "weight_ih" in n:
                nn.init.xavier_uniform_(p)
            elif "weight_hh" in n:
                nn.init.orthogonal_(p)
            else:
                nn.init.zeros_(p)
                if "bias_ih" in n:
                    p.data[hidden_dim : 2 * hidden_dim] = 1
        self.lstm.bias_hh_l0.requires_grad = False
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x, hidden):
        embeds = self.embedding(x)
        lstm_out, hidden = self.lstm(embeds, hidden)
        out = self.sig(self.fc(lstm_out))
        return out[:, -1], hidden

    def init_hidden(self, batch_size):
        weight = next(self.parameters()).data
        return (
            weight.new(self.n_layers, batch_size, self.hidden_dim).zero_(),
            weight.new(self.n_layers, batch_size, self.hidden_dim).zero_(),
        )


net = SentimentRNN(40, 8, 6)
criterion = nn.BCELoss()
optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, net.parameters()), lr=0.1)
net.train()
for _e in range(2):
    h = net.init_hidden(20)
    for inputs, labels in train_loader:
        h = net.init_hidden(len(inputs))
        net.zero_grad()
        output, h = net(inputs, h)
        loss = criterion(output.squeeze(), labels.float())
        loss.backward()
        optimizer.step()

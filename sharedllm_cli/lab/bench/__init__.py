"""Speed and memory against the length of a document: the arms, what they must cost, and what they take."""

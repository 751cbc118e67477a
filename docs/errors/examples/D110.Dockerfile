FROM example/with-a-wrong-trigger
